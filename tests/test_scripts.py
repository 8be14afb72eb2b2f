"""scripts/test.sh, with commands that succeed or fail at once in the place of those that take minutes."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("failing", ["", "ruff", "pytest", "test_wheel.sh", "docs.sh"])
def test_test_sh_fails_where_one_of_its_parts_does_and_only_then(tmp_path, failing):
    def command(path, name):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\ncase '{name}'\"$*\" in *'{failing or 'nothing'}'*) echo it broke; exit 7;; esac\n")
        path.chmod(0o755)

    for name in ("python", "ruff", "mypy", "lint-imports"):
        command(tmp_path / ".venv" / "bin" / name, name)
    for name in ("test_wheel.sh", "docs.sh"):
        command(tmp_path / "scripts" / name, name)
    shutil.copy(ROOT / "scripts" / "test.sh", tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    project = (ROOT / "pyproject.toml").read_bytes()
    checksum = subprocess.run(["cksum"], input=project, check=True, capture_output=True).stdout.decode()
    (tmp_path / ".venv" / "complete").write_text(f"{tmp_path} {checksum}")
    script = tmp_path / "scripts" / "test.sh"
    ran = subprocess.run([script], check=False, capture_output=True, text=True, timeout=60)
    assert (ran.returncode != 0) == bool(failing) and ("all good" in ran.stdout) == (not failing), ran
    assert ("it broke" in ran.stdout) == bool(failing)
