"""One writer of an output folder: a second process is refused while the first lives, and only then."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from dvt.cli.main import run
from dvt.errors import ConfigError
from dvt.files import DiskError
from dvt.one_writer import LOCK, one_writer

HOLD = "import sys; from pathlib import Path; from dvt.one_writer import one_writer\nwith one_writer(Path(sys.argv[1]), 'd'): print('held', flush=True); sys.stdin.read()"  # noqa: E501


class Holder:
    """Another process that holds a lock until its input is closed, or it is killed."""

    def __init__(self, lock, program=HOLD):
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout.readline() == "held\n"

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(30)


def test_a_lock_on_a_full_disk_holds_and_does_not_wait_for_ever(tmp_path):
    """A file that cannot be written to, as on a full disk: the lock is taken, and says nothing of its holder."""
    program = (
        "import resource, signal, sys; from pathlib import Path; from dvt.one_writer import one_writer\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "with one_writer(Path(sys.argv[1]), 'd'): print('held', flush=True); sys.stdin.read()"
    )
    lock = tmp_path / LOCK
    with Holder(lock, program):
        assert lock.read_bytes() == b""
        with pytest.raises(ConfigError, match="is being written by another process: wait"), one_writer(lock, "d"):
            pass
    with one_writer(lock, "d"):
        pass


def test_a_second_process_is_refused_while_the_first_lives(tmp_path):
    lock = tmp_path / "a" / "b" / LOCK
    with Holder(lock) as holder:
        for _ in range(2):
            with pytest.raises(ConfigError, match=rf"out=d is being written .*\(process {holder.pid} on .*, since 2"):
                with one_writer(lock, "d"):
                    pass
        os.kill(holder.pid, signal.SIGSTOP)  # it lives
        with pytest.raises(ConfigError, match="wait until it ends, stop it, or give another out"):
            with one_writer(lock, "d"):
                pass
        os.kill(holder.pid, signal.SIGCONT)
    with one_writer(lock, "d"):
        assert lock.exists()


@pytest.mark.process
def test_a_dead_process_leaves_no_lock_even_if_its_children_live(tmp_path):
    """A lock of `flock` would live on in a forked child, such as a data worker."""
    lock = tmp_path / LOCK
    program = HOLD.replace("print(", "import os, time; os.fork() or (os.close(1), time.sleep(20), os._exit(0)); print(")
    with Holder(lock, program) as holder:
        holder.kill()
        holder.wait()
        assert lock.exists()
        with one_writer(lock, "d"):
            pass
    assert not lock.exists()


def test_threads_of_one_process_are_refused_as_well(tmp_path):
    found = []

    def other():
        try:
            with one_writer(tmp_path / LOCK, "d"):
                pass
        except ConfigError as error:
            found.append(str(error))

    with one_writer(tmp_path / LOCK, "d"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == ["out=d is being written by this process: wait until that ends, or give another out."]
    other()
    assert len(found) == 1


def test_nothing_is_left_of_work_that_wrote_nothing(tmp_path):
    with pytest.raises(KeyError), one_writer(tmp_path / "a" / "b" / LOCK, "b"):
        raise KeyError
    assert not (tmp_path / "a").exists()
    with one_writer(tmp_path / "a" / "b" / LOCK, "b"):
        (tmp_path / "a" / "b" / "result").touch()
    assert [path.name for path in (tmp_path / "a").rglob("*")] == ["b", "result"]


@pytest.mark.process
def test_many_processes_in_turn_never_write_at_once(tmp_path):
    """Each adds one to a number in a file without care: no addition is lost."""
    number, lock = tmp_path / "number", tmp_path / LOCK
    number.write_text("0")
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom dvt.errors import ConfigError\n"
        "from dvt.one_writer import one_writer\nlock, number, left = Path(sys.argv[1]), Path(sys.argv[2]), 100\n"
        "while left:\n"
        "    try:\n"
        "        with one_writer(lock, 'd'):\n"
        "            found = int(number.read_text()); number.write_text(str(found + 1)); left -= 1\n"
        "    except ConfigError: pass\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program, str(lock), str(number)]) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert number.read_text() == "200"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that takes no files")
def test_a_folder_that_takes_no_files_is_named():
    with pytest.raises(DiskError, match="/proc/nowhere"), one_writer(Path("/proc/nowhere") / LOCK, "d"):
        pass


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(16):
        Image.effect_noise((64, 64), 60).convert("RGB").save(folder / f"{number}.png")
    return folder


VIT = ("backbone=vit_micro", "backbone.image_size=64")
SHOW = (*VIT, "device=cpu", "quality=tiny", "views.num_views=1")


@pytest.mark.parametrize(
    ("arguments", "lock"),
    [
        (["show", "image={photos}/1.png", "out={out}/a.png", *SHOW], ".a.png.lock"),
        (["show", "image={photos}", "out={out}", *SHOW], LOCK),
        (["show", "image={photos}", "out={out}/a.gif", *SHOW], ".a.gif.lock"),
        (["doctor", "images={photos}", "out={out}/d.png", "device=cpu", *VIT], ".d.png.lock"),
        (["demo", "out={out}"], LOCK),
        (["export", "out={out}/m", "format=safetensors", *VIT], ".m.lock"),
        (["train", "images={photos}", "out={out}", *VIT], LOCK),
        (["distill", "images={photos}", "out={out}", "teacher=srt", *VIT], LOCK),
        (["evaluate", "task=artifact_scores", "data={photos}", "out={out}", VIT[0]], ".artifact_scores.lock"),
    ],
    ids=lambda part: part[0] if isinstance(part, list) else "",
)
def test_every_verb_that_writes_a_result_refuses_a_folder_in_use(arguments, lock, photos, tmp_path, capsys):
    out = tmp_path / "out"
    with one_writer(out / lock, out):
        code = run([part.format(photos=photos, out=out) for part in arguments])
        assert [path.name for path in out.rglob("*")] == [lock], "nothing was written"
    assert code == 2 and "is being written by this process: wait until that ends" in capsys.readouterr().err
