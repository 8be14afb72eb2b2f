"""Chaos: commands are disturbed at random moments and run again; their results equal those of an undisturbed run.

`scripts/chaos.sh` starts it. This process imports everything once and forks a process for every command, so that a
round is the work of the command and not its imports. Exit code 1: something was lost.
"""

import argparse
import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import lightning.pytorch  # noqa: F401 (imported before the processes are forked)
import torch
from PIL import Image

from dvt.cli import decompose, distill, evaluate, train  # noqa: F401
from dvt.cli.main import main as dvt
from dvt.store import FeatureStore, StoreWriter, verify
from dvt.weights.folder import read_model_folder

NUM_IMAGES = 16
_VIT = ("backbone=vit_micro", "backbone.image_size=64")
_STEPS = (
    "batch_size=4",
    "save_every=1",
    "validate_every=4",
    "show_every=0",
    "log_every=4",
    "trainer=cpu",
    "logger=none",
)
_OK, _REFUSED, _SOME_FAILED, _STOPPED = 0, 2, 3, 130


@dataclass(frozen=True)
class Verb:
    """A command that is disturbed."""

    arguments: tuple[str, ...]
    """The command; `{out}` is the folder that it writes."""
    result: Callable[[Path], Any]
    """What has to be the same, of that folder."""


def stored(out: Path) -> dict[str, tuple[bytes, bytes]]:
    """Content of a store, every byte verified."""
    assert verify(out).ok, verify(out)
    store = FeatureStore.open(out)
    assert not store.failures, store.failures
    return {key: (record.raw.numpy().tobytes(), record.clean.numpy().tobytes()) for key, record in store.items()}


def published(out: Path) -> dict[str, bytes]:
    """Weights of a model folder."""
    return {name: tensor.numpy().tobytes() for name, tensor in read_model_folder(out)[0].items()}


def scores(out: Path) -> dict[str, Any]:
    """Scores of every method."""
    rows = json.loads((out / "artifact_scores.json").read_text())["rows"]
    return {name: row["values"] for name, row in rows.items()}


VERBS = {
    "decompose": Verb(
        ("decompose", "images=photos", "store={out}", *_VIT, "quality=tiny", "views.num_views=3", "device=cpu"), stored
    ),
    "train": Verb(("train", "store=store", "out={out}", "num_steps=12", *_STEPS), published),
    "distill": Verb(
        ("distill", "images=photos", "denoiser=denoiser", "out={out}", *_VIT, "num_steps=8", *_STEPS), published
    ),
    "evaluate": Verb(
        (
            "evaluate", "task=artifact_scores", "data=photos", "out={out}", _VIT[0], "quality=tiny", "device=cpu",
            "artifact_scores.image_size=64", "artifact_scores.seeds=1", f"artifact_scores.num_images={NUM_IMAGES}",
            "method=[raw,decomposed]",
        ),
        scores,
    ),
}  # fmt: skip
"""The commands, in the order in which they need each other's results."""


_PIPES: dict[int, "subprocess.Popen[bytes]"] = {}
"""What writes the log of each process."""


class Lost(AssertionError):
    """A promise that was not kept."""


def start(arguments: list[str], log: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Run `dvt` in a forked process; returns its id. `prepare` is called in it first."""
    with log.open("ab") as file:  # through a pipe: a limit of the size of files is not about the log
        pipe = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
    process = os.fork()
    if process:
        pipe.stdin.close()
        _PIPES[process] = pipe
        return process
    os.dup2(pipe.stdin.fileno(), 1)
    os.dup2(pipe.stdin.fileno(), 2)
    pipe.stdin.close()
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    code = 70
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        StoreWriter._commit_if_due = StoreWriter.commit  # every image: a minute between commits is longer than the run
        prepare()
        sys.argv = ["dvt", *arguments]
        dvt()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(process: int, seconds: float = 300.0) -> int:
    """The exit code of a process, negative for a signal."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            _PIPES.pop(process).wait(60)
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    raise Lost(f"the command did not end within {seconds:.0f} s")


def lives(process: int) -> bool:
    """Whether a process runs; it stays to be waited for."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


class Round:
    """One command, disturbed and run again."""

    def __init__(self, name: str, place: Path, rng: Random, seconds: float):
        self.name, self.place, self.rng, self.seconds = name, place, rng, seconds
        self.out = place / "out"
        self.log = place / "log"
        self.arguments = [part.format(out=self.out) for part in VERBS[name].arguments]

    def begin(self, prepare: Callable[[], None] = lambda: None) -> int:
        """Start the command."""
        return start(self.arguments, self.log, prepare)

    def sleep(self) -> None:
        """Until a random moment of the run."""
        time.sleep(self.rng.uniform(0, 1.1) * self.seconds)

    def expect(self, code: int, *allowed: int) -> None:
        """Fail with the log where an exit code is none of those allowed."""
        if code not in allowed:
            raise Lost(f"exit code {code}, allowed are {allowed}\n{self.log.read_text(errors='replace')[-3000:]}")


def kill(run: Round) -> None:
    """kill -9."""
    process = run.begin()
    run.sleep()
    os.kill(process, signal.SIGKILL)
    run.expect(wait(process), -signal.SIGKILL, _OK)


def terminate(run: Round) -> None:
    """SIGTERM."""
    process = run.begin()
    run.sleep()
    os.kill(process, signal.SIGTERM)
    run.expect(wait(process), _STOPPED, _OK, -signal.SIGTERM)  # the last: before the command handles signals


def pause(run: Round) -> None:
    """SIGSTOP and CONT; the command has to end well by itself."""
    process = run.begin()
    run.sleep()
    os.kill(process, signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(process, signal.SIGCONT)
    run.expect(wait(process), _OK)


def small_files(run: Round) -> None:
    """A limit of the size of files, reached at some write."""
    limit = run.rng.choice((0, 100, 1000, 20_000, 200_000))
    code = wait(run.begin(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))))
    run.expect(code, _REFUSED, _OK)


def mounted(run: Round, size_kb: int) -> None:
    """Put `out` on a disk of its own."""
    run.out.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", run.out], check=True)
    run.arguments = [part.format(out=run.out / "out") for part in VERBS[run.name].arguments]
    run.out = run.out / "out"


def full_disk(run: Round) -> None:
    """A disk that becomes full; then it is enlarged."""
    mounted(run, run.rng.choice((4, 16, 64, 256, 1024)))
    run.expect(wait(run.begin()), _REFUSED, _OK)
    subprocess.run(["mount", "-o", "remount,size=512m", run.out.parent], check=True)


def read_only(run: Round) -> None:
    """A disk that becomes read-only at a random moment; then it can be written again."""
    mounted(run, 524288)
    process = run.begin()
    run.sleep()
    while lives(process):  # refused while a file is open for writing
        remount = ["mount", "-o", "remount,ro", run.out.parent]
        if subprocess.run(remount, check=False, capture_output=True).returncode == 0:
            break
    run.expect(wait(process), _REFUSED, _OK)
    subprocess.run(["mount", "-o", "remount,rw", run.out.parent], check=True)


def vanishing_image(run: Round) -> None:
    """An image is away for a time."""
    image = run.place / "photos" / f"{run.rng.randrange(NUM_IMAGES):02d}.png"
    process = run.begin()
    while run.name != "evaluate" and lives(process) and f"{NUM_IMAGES} images" not in run.log.read_text():
        time.sleep(0.01)  # until the images are listed; a list of one image less is another run
    time.sleep(run.rng.uniform(0, 0.5) * run.seconds)
    image.rename(image.with_suffix(".away"))
    code = wait(process)
    image.with_suffix(".away").rename(image)
    run.expect(code, _OK, _SOME_FAILED, _REFUSED)


def clock_back(run: Round) -> None:
    """The clock goes back by a day during the run, which is then killed; files of before are in the future."""
    shift_at = time.monotonic() + run.rng.uniform(0, 1) * run.seconds
    now = time.time

    def prepare() -> None:
        time.time = lambda: now() - (86400 if time.monotonic() > shift_at else 0)

    process = run.begin(prepare)
    run.sleep()
    os.kill(process, signal.SIGKILL)
    run.expect(wait(process), -signal.SIGKILL, _OK)
    for path in run.out.rglob("*"):
        os.utime(path, (now() + 86400, now() + 86400))


def _refusing(name: str, number: int) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    setattr(os, name, refuse)


def no_links(run: Round) -> None:
    """A file system without hard links; the command has to end well."""
    number = run.rng.choice((errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK))
    run.expect(wait(run.begin(lambda: _refusing("link", number))), _OK)


def no_fsync(run: Round) -> None:
    """A file system that knows no fsync; the command has to end well."""
    number = run.rng.choice((errno.EINVAL, errno.ENOTSUP, errno.ENOSYS))
    run.expect(wait(run.begin(lambda: _refusing("fsync", number))), _OK)


def failing_fsync(run: Round) -> None:
    """A disk that fails at some flush."""
    left = [run.rng.randrange(60)]
    fsync = os.fsync

    def prepare() -> None:
        def flush(descriptor: int) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            fsync(descriptor)

        os.fsync = flush

    run.expect(wait(run.begin(prepare)), _REFUSED, _OK)


def no_replacement(run: Round) -> None:
    """A file system that does not rename over an existing file, from some rename on."""
    replace = os.replace

    def prepare() -> None:
        def rename(source: Any, target: Any) -> None:
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
            replace(source, target)

        os.replace = rename

    run.expect(wait(run.begin(prepare)), _REFUSED, _OK)


def failing_rename(run: Round) -> None:
    """A disk that fails at some rename."""
    left, replace = [run.rng.randrange(40)], os.replace

    def prepare() -> None:
        def rename(source: Any, target: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            replace(source, target)

        os.replace = rename

    run.expect(wait(run.begin(prepare)), _REFUSED, _OK)


def two_at_once(run: Round) -> None:
    """The same command twice; in training and evaluation the second is refused while the first lives."""
    first = run.begin()
    time.sleep(run.rng.uniform(0, 0.8) * run.seconds)
    second = run.begin()
    codes = wait(first), wait(second)
    if run.name == "decompose":
        run.expect(codes[0], _OK)
        run.expect(codes[1], _OK)
    else:
        run.expect(min(codes), _OK)
        run.expect(max(codes), _OK, _REFUSED)


KINDS: dict[str, Callable[[Round], None]] = {
    each.__name__: each
    for each in (
        kill, terminate, pause, small_files, full_disk, read_only, vanishing_image, clock_back, no_links, no_fsync,
        failing_fsync, no_replacement, failing_rename, two_at_once,
    )
}  # fmt: skip
_MOUNTS = {"full_disk", "read_only"}


def make_images(folder: Path) -> None:
    """Write the images."""
    folder.mkdir()
    for number in range(NUM_IMAGES):
        pixels = Random(number).randbytes(3 * 12 * 15)
        Image.frombytes("RGB", (15, 12), pixels).resize((90, 70)).save(folder / f"{number:02d}.png")


def can_mount(place: Path) -> bool:
    """Whether this user may mount a disk in memory."""
    there = place / "mount"
    there.mkdir()
    ran = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", there], check=False, capture_output=True)
    if ran.returncode == 0:
        subprocess.run(["umount", there], check=True)
    there.rmdir()
    return ran.returncode == 0


def undisturbed(place: Path, verbs: list[str]) -> tuple[dict[str, Any], dict[str, float]]:
    """The results of commands and of those whose results they need, and how long each takes."""
    results, seconds = {}, {}
    last = max(list(VERBS).index(name) for name in verbs)
    for name in list(VERBS)[: last + 1] if verbs != ["evaluate"] else verbs:
        verb = VERBS[name]
        out = place / {"decompose": "store", "train": "denoiser"}.get(name, name)
        times = []
        for target in (out, place / "again"):
            begun = time.monotonic()
            code = wait(start([part.format(out=target) for part in verb.arguments], place / "log"))
            times.append(time.monotonic() - begun)
            if code != 0:
                raise Lost(f"{name} without a disturbance: exit code {code}\n{(place / 'log').read_text()[-3000:]}")
        results[name], seconds[name] = verb.result(out), min(times)
        if verb.result(place / "again") != results[name]:
            raise Lost(f"{name}: two undisturbed runs differ")
        shutil.rmtree(place / "again")
        print(f"{name}: {seconds[name]:.1f} s undisturbed", flush=True)
    return results, seconds


def play(kind: str, run: Round, expected: Any) -> None:
    """Disturb a command, run it again until its end, compare.

    Raises:
        Lost: it does not end well, or with another result.
    """
    try:
        KINDS[kind](run)
        run.expect(wait(run.begin()), _OK)
        if VERBS[run.name].result(run.out) != expected:
            raise Lost(f"the result differs\n{run.log.read_text(errors='replace')[-3000:]}")
        if kind not in ("kill", "clock_back") and (left := [path.name for path in run.out.rglob(".*.tmp")]):
            raise Lost(f"temporary files are left: {left}")
    finally:
        if kind in _MOUNTS:
            subprocess.run(["umount", "-l", run.out.parent], check=False, capture_output=True)
        for path in (run.place / "photos").glob("*.away"):
            path.rename(path.with_suffix(".png"))
        shutil.rmtree(run.place / "out", ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            run.log.unlink()


def main() -> int:
    """Play rounds; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, prog="scripts/chaos.sh")
    parser.add_argument("rounds", nargs="?", type=int, default=28, help="number of rounds (28)")
    parser.add_argument("--seed", type=int, default=0, help="of all moments (0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first round (0)")
    parser.add_argument("--kinds", default="", help=f"some of {','.join(KINDS)}; default: all")
    parser.add_argument("--verbs", default="", help=f"some of {','.join(VERBS)}; default: all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    place = Path(tempfile.mkdtemp(prefix="dvt-chaos-"))
    os.chdir(place)
    kinds = args.kinds.split(",") if args.kinds else list(KINDS)
    verbs = args.verbs.split(",") if args.verbs else list(VERBS)
    if not can_mount(place):
        print("no disk can be mounted here: rounds with a full or a read-only disk are left out", flush=True)
        kinds = [kind for kind in kinds if kind not in _MOUNTS]
    lost, played = [], Counter()
    try:
        make_images(place / "photos")
        results, seconds = undisturbed(place, verbs)
        for number in range(args.first, args.first + args.rounds):
            # Every pair of a kind and a verb comes once before any comes again.
            name, kind = verbs[number % len(verbs)], kinds[(number // len(verbs)) % len(kinds)]
            rng = Random(f"{args.seed} {number}")
            begun = time.monotonic()
            try:
                play(kind, Round(name, place, rng, seconds[name]), results[name])
                played[kind] += 1
                print(f"{number} {kind} {name}: same   {time.monotonic() - begun:.1f} s", flush=True)
            except Lost as error:
                lost.append(f"{number} {kind} {name}")
                print(f"{number} {kind} {name}: LOST   {error}", flush=True)
    finally:
        os.chdir("/")
        shutil.rmtree(place, ignore_errors=True)
    for kind, count in played.items():
        print(f"  {kind:<16} {count}")
    print(f"{sum(played.values()) + len(lost)} rounds, {len(lost)} lost {lost}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
