"""The command as a process: start-up without torch, signals, closed pipes, exit codes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dvt.grid import PatchGrid
from dvt.spec import FeatureSpec
from dvt.store import StoreMeta, StoreWriter, verify

COMMAND = [sys.executable, "-c", "from dvt.cli.main import main; main()"]
HEAVY = ("torch", "numpy", "timm", "hydra", "PIL", "rich", "ray", "submitit")


def start(*arguments, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*COMMAND, *arguments], env=environment, **{**streams, **options})


def test_pages_need_no_heavy_imports():
    pages = [["--help"], ["decompose", "--help"], ["show", "--help"], ["store", "--help"], ["decompos"]]
    code = (
        "import sys; from dvt.cli.main import run\n"
        f"for page in {pages}: run(page)\n"
        f"print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)"
    )
    begun_s = time.perf_counter()
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.perf_counter() - begun_s < 3  # it takes 0.2 s; torch alone takes longer than this on a busy machine
    assert process.stderr.splitlines()[-1] == ""


@pytest.mark.process
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_during_the_imports_is_no_crash(photo, tmp_path, tiny_options, name):
    process = start("decompose", f"images={photo('a.png')}", f"store={tmp_path / 's'}", *tiny_options)
    time.sleep(0.7)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate()
    assert process.returncode == 130 and err == "dvt: interrupted. Run the same command again.\n"


@pytest.mark.process
def test_sigterm_during_a_run_keeps_what_is_done(photo, tmp_path, tiny_options):
    for index in range(60):
        photo(f"photos/{index:03}.png")
    process = start("decompose", f"images={tmp_path / 'photos'}", f"store={tmp_path / 's'}", *tiny_options)
    assert "60 images" in process.stderr.readline()
    time.sleep(0.5)
    process.terminate()
    _, err = process.communicate()
    assert process.returncode == 130 and "The same command again continues" in err
    found = verify(tmp_path / "s")
    assert found.ok and 0 < found.num_records < 60 and not found.temporary


def test_a_reader_that_goes_away_is_no_crash():
    reading, writing = os.pipe()
    os.close(reading)
    process = start("decompose", "--help", stdout=writing)
    os.close(writing)
    _, err = process.communicate()
    assert process.returncode == 141 and err == ""


def test_a_fault_of_ours_shows_its_traceback_and_exits_with_1():
    code = (
        "import dvt.cli.main, dvt.cli.decompose\n"
        "dvt.cli.decompose.work = lambda *_: 1 / 0\n"
        "import sys; sys.argv[1:] = ['decompose', 'images=x', 'store=s']; dvt.cli.main.main()"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert "Traceback" in process.stderr and "ZeroDivisionError" in process.stderr


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="needs names of files that are no text")
def test_a_name_that_is_no_text_is_printed(tmp_path):
    spec = FeatureSpec(
        backbone="vit", weights_hash="ab", layer=1, norm=True, grid=PatchGrid.of((64, 64), patch=16), channels=4
    )
    StoreWriter.open(tmp_path, StoreMeta(spec=spec, solver={}, quality="fast", code_version="0")).close()
    leftover = tmp_path / os.fsdecode(b".\xff.tmp")
    leftover.touch()
    os.utime(leftover, (0, 0))
    process = start("store", "clean", str(tmp_path))
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and output == "deleted .\\udcff.tmp\n", errors
