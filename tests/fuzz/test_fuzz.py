"""Inputs that made dvt fail once, and the fuzzer itself."""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from fuzz_corpus import CASES
from fuzz_run import attempt, minimised
from fuzz_targets import TARGETS, make_input, only_dvt_errors

from dvt.errors import ImageError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Command lines are read in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.other_types
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("target", "data"), CASES, ids=[f"{target} {at}" for at, (target, _) in enumerate(CASES)])
def test_what_failed_once_fails_no_more(target, data, tmp_path):
    failure = attempt(target, data, tmp_path)
    assert failure is None, failure.text


@pytest.mark.other_types
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", [name for name in TARGETS if name not in ("vit", "command", "bomb")])
def test_the_seeds_and_some_mutations_of_every_target(target, tmp_path):
    """The fuzzer goes through many more; a seed that dvt does not take would test nothing."""
    for data in (TARGETS[target].seeds()[0], *(make_input(target, 0, number) for number in range(5))):
        failure = attempt(target, data, tmp_path)
        assert failure is None, failure.text


@pytest.mark.slow
@pytest.mark.process
def test_a_seed_and_a_number_make_the_same_input_in_every_process():
    names = ["header", "list", "meta", "sidecar", "config"]
    program = "import sys; from test_fuzz import sums; print(sums(sys.argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    ran = subprocess.run([sys.executable, "-c", program, *names], env=environment, capture_output=True, check=True)
    assert ran.stdout.decode() == f"{sums(names[::-1])}\n"


def sums(names):
    """Checksums of the first inputs of targets."""
    return {name: [zlib.crc32(make_input(name, 3, number)) for number in range(20)] for name in sorted(names)}


def test_an_error_of_another_type_and_a_file_that_is_not_named_are_failures(tmp_path, monkeypatch):
    def check(data, folder):
        if data == b"key":
            raise KeyError(data)
        if data == b"name":
            with only_dvt_errors(folder / "a.png"):
                raise ImageError("some file is damaged")

    monkeypatch.setitem(TARGETS, "planted", type(TARGETS["list"])(lambda: [b""], check, 1))
    assert attempt("planted", b"", tmp_path) is None
    assert attempt("planted", b"key", tmp_path).kind == "KeyError in outside of dvt"
    assert attempt("planted", b"name", tmp_path).kind == "UnnamedFileError in outside of dvt"
    assert not list(tmp_path.iterdir())


def test_the_shortest_failing_input_is_found():
    assert minimised(b"abc" * 50 + b"X" + b"def" * 50, lambda data: b"X" in data, until=float("inf")) == b"X"


PLANTED = """
import os, signal, sys, time
import fuzz_run
from fuzz_targets import TARGETS, Target
def check(data, folder):
    match data[0] % 50:
        case 1: os.kill(os.getpid(), signal.SIGSEGV)
        case 2: raise KeyError
        case 3:
            while True: pass
fuzz_run.HANG_S = 0.3
TARGETS.clear()
TARGETS["planted"] = Target(lambda: [b"seed"], check, 1, lambda rng, *_: rng.randbytes(20))
sys.exit(fuzz_run.main())
"""


@pytest.mark.slow
@pytest.mark.process
def test_crashes_and_hangs_of_the_worker_are_findings_and_the_next_one_goes_on(tmp_path):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    command = [sys.executable, "-c", PLANTED, "60", "--inputs", "120", "--out", str(tmp_path / "found")]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 1 and "120 inputs" in ran.stdout, ran
    found = [json.loads(path.read_text()) for path in (tmp_path / "found").iterdir()]
    kinds = {body["kind"] for body in found}
    assert kinds == {"died by SIGSEGV", "longer than 0.3 s", "KeyError in outside of dvt"}
    assert all("check" in body["text"] for body in found if body["kind"] == "longer than 0.3 s")


@pytest.mark.slow
def test_a_minute_of_fuzzing_finds_nothing(tmp_path):
    script, out = ROOT / "scripts" / "fuzz.sh", tmp_path / "found"
    environment = {**os.environ, "PYTHON": sys.executable}
    ran = subprocess.run([script, "60", "--seed", "1000", "--out", out], env=environment, check=False, timeout=300)
    assert ran.returncode == 0 and not out.exists()
