"""Fuzzing: mutated inputs of every kind, until the time is over. `scripts/fuzz.sh` starts it.

The inputs run one after the other in one worker process, each with a limit of time and memory. A worker that dies or
hangs is a finding; the next one goes on behind it. Exit code 1: something was found.
"""

import argparse
import base64
import faulthandler
import json
import mmap
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TextIO

import torch
from fuzz_targets import TARGETS, make_input

HANG_S = 10
"""Longest processor time for an input: the machine may have other work."""
_STUCK_S = 120
"""Longest time for an input, for what waits and does not compute."""
MEMORY_BYTES = 2 * 2**30
"""Most memory for an input, above what the process held before."""
_ADDRESS_SPACE = 4 * 2**30
_FILE_BYTES = 2**30
_MINIMISE_S = 20
_STATE = struct.Struct("qqq")


@dataclass(frozen=True)
class Failure:
    """What an input did that it must not do."""

    kind: str
    """Type of the error and the place in dvt, or memory: the same for inputs with one cause."""
    text: str
    """Traceback."""


def target_of(seed: int, number: int, names: list[str]) -> str:
    """The target of the n-th input."""
    return Random(f"{seed} {number}").choices(names, [TARGETS[name].weight for name in names])[0]


def attempt(target: str, data: bytes, place: Path) -> Failure | None:
    """Give an input to its target; the failure, or None."""
    folder = place / "input"
    folder.mkdir()
    before = _memory("VmRSS")
    _forget_peak()
    try:
        TARGETS[target].check(data, folder)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Failure(_kind(error), "".join(traceback.format_exception(error)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    used = _memory("VmHWM") - before
    return Failure("memory", f"{used / 2**20:.0f} MiB") if used > MEMORY_BYTES else None


def _kind(error: BaseException) -> str:
    """The type of an error with the last place in dvt that it came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if f"{os.sep}dvt{os.sep}" in frame.filename]
    place = f"{Path(frames[-1].filename).name} {frames[-1].name}" if frames else "outside of dvt"
    return f"{type(error).__name__} in {place}"


def minimised(data: bytes, fails: Callable[[bytes], bool], until: float) -> bytes:
    """A shorter input that still fails: parts are left out, then bytes are made 0 where that changes nothing."""
    size = max(len(data) // 2, 1)
    while size and time.monotonic() < until:
        at = 0
        while at < len(data) and time.monotonic() < until:
            shorter = data[:at] + data[at + size :]
            if fails(shorter):
                data = shorter
            else:
                at += size
        size //= 2
    return data


def work(
    args: argparse.Namespace, names: list[str], first: int, state: mmap.mmap, place: Path, seen: set[str], log: TextIO
) -> None:
    """Run inputs from the first on, until the time is over; findings are written as files."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + _ADDRESS_SPACE,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.register(signal.SIGPROF, file=log, chain=True)  # the signal then ends the process
    os.chdir(place)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    sys.stdout.reconfigure(errors="backslashreplace")  # as `dvt.cli.main.main` does
    number = first
    while time.monotonic() < args.until and number < args.stop:
        target = target_of(args.seed, number, names)
        data = make_input(target, args.seed, number)
        state[: _STATE.size] = _STATE.pack(number, 0, 0)
        faulthandler.dump_traceback_later(_STUCK_S, exit=True, file=log)
        signal.setitimer(signal.ITIMER_PROF, HANG_S)
        failure = attempt(target, data, place)
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        if failure is not None and (kind := f"{target}: {failure.kind}") not in seen:
            seen.add(kind)

            def fails(shorter: bytes, target: str = target, kind: str = failure.kind) -> bool:
                found = attempt(target, shorter, place)
                return found is not None and found.kind == kind

            small = minimised(data, fails, time.monotonic() + _MINIMISE_S)
            write_finding(args.out, target, args.seed, number, failure, small)
        number += 1
        state[: _STATE.size] = _STATE.pack(number, 1, 0)
    os._exit(0)


def write_finding(out: Path, target: str, seed: int, number: int, failure: Failure, data: bytes) -> None:
    """Write a finding: what fails, how to make it again, the shortest input."""
    body = {
        "target": target, "seed": seed, "number": number, "kind": failure.kind, "text": failure.text,
        "data": base64.b64encode(data).decode(),
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{target}-{seed}-{number}.json").write_text(json.dumps(body, indent=1))


def main() -> int:
    """Fuzz for a time; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, prog="scripts/fuzz.sh")
    parser.add_argument("seconds", nargs="?", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, default=0, help="of all inputs (0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input (0)")
    parser.add_argument("--inputs", type=int, default=2**62, help="at most so many inputs")
    parser.add_argument("--targets", default="", help=f"some of {','.join(TARGETS)}; default: all")
    parser.add_argument("--out", type=Path, default=Path("fuzz_findings"), help="folder for what fails (fuzz_findings)")
    args = parser.parse_args()
    args.out, args.until, args.stop = args.out.absolute(), time.monotonic() + args.seconds, args.first + args.inputs
    names = args.targets.split(",") if args.targets else list(TARGETS)
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="dvt-fuzz-", dir=memory if memory.is_dir() else None))
    state = mmap.mmap(-1, _STATE.size)
    os.environ["HOME"] = str(place)
    for name in names:
        make_input(name, args.seed, 0)  # the seeds are made once, before the first worker
    seen: set[str] = set()
    number, deaths, started, shown = args.first, 0, time.monotonic(), time.monotonic()
    try:
        while time.monotonic() < args.until and number < args.stop:
            state[: _STATE.size] = _STATE.pack(number, 1, 0)
            worker = os.fork()
            if worker == 0:
                with (place / "log").open("w") as log:
                    try:
                        work(args, names, number, state, place, seen, log)
                    except BaseException:
                        traceback.print_exc(file=log)
                os._exit(70)
            while True:
                ended, status = os.waitpid(worker, os.WNOHANG)
                if ended:
                    break
                time.sleep(0.2)
                if time.monotonic() - shown > 30:
                    shown = time.monotonic()
                    _show(_STATE.unpack(state)[0] - args.first, started, args.out)
            number, done, _ = _STATE.unpack(state)
            shutil.rmtree(place / "input", ignore_errors=True)
            if status != 0 and not done:
                deaths += 1
                target = target_of(args.seed, number, names)
                ended_by = signal.Signals(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else signal.SIGPROF
                how = f"longer than {HANG_S} s" if ended_by is signal.SIGPROF else f"died by {ended_by.name}"
                failure = Failure(how, (place / "log").read_text())
                write_finding(args.out, target, args.seed, number, failure, make_input(target, args.seed, number))
                number += 1
            elif status != 0:
                raise RuntimeError(f"the worker failed between inputs: {(place / 'log').read_text()}")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return _summary(args, names, number, started)


def _show(count: int, started: float, out: Path) -> None:
    seconds = time.monotonic() - started
    found = len(list(out.glob("*.json")))
    print(f"{seconds:6.0f} s  {count} inputs, {count / seconds:.0f} a second, {found} findings", flush=True)


def _summary(args: argparse.Namespace, names: list[str], number: int, started: float) -> int:
    counts = Counter(target_of(args.seed, each, names) for each in range(args.first, number))
    for name in names:
        print(f"  {name:<14} {counts[name]}")
    _show(number - args.first, started, args.out)
    found = sorted(args.out.glob("*.json"))
    for path in found:
        body = json.loads(path.read_text())
        print(f"found: {body['target']}, seed {body['seed']}, number {body['number']}: {body['kind']}   {path}")
    return 1 if found else 0


def _memory(name: str) -> int:
    """A line of the status of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    sys.exit(main())
