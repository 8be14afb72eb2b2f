"""The wheel holds the package, the configs, the license and the command, and nothing else.

`scripts/test_wheel.sh` installs and runs it.
"""

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from dvt.version import __version__

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_code_configs_and_checkpoints_are_all_there_and_nothing_else(wheel):
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dvt").rglob("*.py")}
    configs = {f"dvt/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    files = [path for path in (ROOT / "checkpoints").rglob("*") if path.is_file()]
    checkpoints = {f"dvt/{path.relative_to(ROOT).as_posix()}" for path in files}
    assert len(code) > 50 and len(configs) > 20
    info = f"dvt-{__version__}.dist-info/"
    assert {name for name in wheel.namelist() if not name.startswith(info)} == code | configs | checkpoints


def test_license_command_and_metadata(wheel):
    info = f"dvt-{__version__}.dist-info"
    assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "dvt = dvt.cli.main:main" in wheel.read(f"{info}/entry_points.txt").decode().splitlines()
    metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert metadata["Version"] == __version__ and metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()
