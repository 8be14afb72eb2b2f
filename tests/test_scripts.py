"""scripts/test.sh: with stand-ins for its commands; and the tests that it selects."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = (ROOT / "scripts" / "test.sh").read_text(encoding="utf-8")


@pytest.mark.parametrize("mode", ["", "--ci", "--all"])
@pytest.mark.parametrize("failing", ["", "ruff", "pytest", "test_wheel.sh", "browser_tools.sh", "docs.sh"])
def test_test_sh_fails_if_and_only_if_one_of_its_parts_fails(tmp_path, mode, failing):
    def command(path, name):
        path.parent.mkdir(parents=True, exist_ok=True)
        fail = f"case '{name}'\"$*\" in *'{failing or 'nothing'}'*) echo failed; exit 7;; esac"
        path.write_text(f"#!/bin/sh\n{fail}\n")
        path.chmod(0o755)

    for name in ("python", "ruff", "mypy", "lint-imports"):
        command(tmp_path / ".venv" / "bin" / name, name)
    for name in ("test_wheel.sh", "browser_tools.sh", "docs.sh"):
        command(tmp_path / "scripts" / name, name)
    shutil.copy(ROOT / "scripts" / "test.sh", tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    project = (ROOT / "pyproject.toml").read_bytes()
    checksum = subprocess.run(["cksum"], input=project, check=True, capture_output=True).stdout.decode()
    (tmp_path / ".venv" / "complete").write_text(f"{tmp_path} {checksum}")
    script = tmp_path / "scripts" / "test.sh"
    ran = subprocess.run([script, *filter(None, [mode])], check=False, capture_output=True, text=True, timeout=60)
    fails = bool(failing) and not (
        failing.endswith(".sh") and not mode
    )  # fast: without the wheel and the documentation
    assert (ran.returncode != 0) == fails and ("all good" in ran.stdout) == (not fails), ran
    assert ("failed" in ran.stdout) == fails


def test_the_fast_tests_have_no_marker_and_all_tests_are_run_by_all():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    markers = set(re.findall(r'^    "(\w+): ', project[project.index("markers = [") :], re.MULTILINE))
    (fast,) = re.findall(r'^fast="not \((.+)\)"$', SCRIPT, re.MULTILINE)
    assert set(fast.split(" or ")) == markers - {"other_types"}
    assert re.search(r'^    --all\) tests="" ;;$', SCRIPT, re.MULTILINE)
    assert re.search(r'^    --ci\) tests="not \(slow or gpu\)" ;;$', SCRIPT, re.MULTILINE)
    assert "scripts/test.sh --ci" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
