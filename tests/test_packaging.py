"""The wheel holds the package, the configs, the license and the command, and nothing else; the sdist also its tests.

`scripts/test_wheel.sh` installs the wheel and runs it.
"""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest

from dvt.version import __version__

ROOT = Path(__file__).parents[1]
NAME = f"denoising_vit-{__version__}"
EXTRAS = {
    "av": "video",
    "fastapi": "view",
    "uvicorn": "view",
    "pyarrow": "leaderboard",
    "torchmetrics": "detection",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "tinycudann": "tcnn",
    "pillow_heif": "heic",
    "open_clip": "openclip",
    "transformers": "transformers",
    "jaxtyping": "dev",  # dvt/shapes.py, if it is loaded
}
"""Packages that dvt imports where it needs them, and the extra that brings them or what they are built with."""


def build(kind, out):
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("dist"))) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel):
    return Parser().parsestr(wheel.read(f"{NAME}.dist-info/METADATA").decode())


def test_code_configs_and_checkpoints_are_all_there_and_nothing_else(wheel):
    sources = [path for suffix in ("py", "html", "css", "js") for path in (ROOT / "dvt").rglob(f"*.{suffix}")]
    code = {path.relative_to(ROOT).as_posix() for path in sources}
    configs = {f"dvt/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    files = [path for path in (ROOT / "checkpoints").rglob("*") if path.is_file()]
    checkpoints = {f"dvt/{path.relative_to(ROOT).as_posix()}" for path in files}
    assert len(code) > 50 and "dvt/viz/explorer/template.html" in code and len(configs) > 20
    info = f"{NAME}.dist-info/"
    assert {name for name in wheel.namelist() if not name.startswith(info)} == code | configs | checkpoints


def test_license_command_and_metadata(wheel, metadata):
    info = f"{NAME}.dist-info"
    assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "dvt = dvt.cli.main:main" in wheel.read(f"{info}/entry_points.txt").decode().splitlines()
    assert metadata["Name"] == "denoising-vit" and metadata["Summary"] and metadata["Keywords"]
    assert metadata["Version"] == __version__ and metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def requirements(metadata, extra):
    """Normalised names of what is installed without an extra (None), or with this one alone."""
    lines = [line for line in metadata.get_all("Requires-Dist") if re.search(r"extra == '(.+)'", line) is None]
    if extra is not None:
        lines = [line for line in metadata.get_all("Requires-Dist") if f"extra == '{extra}'" in line]
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in lines}


def test_what_dvt_imports_is_installed_with_it_or_by_an_extra(metadata):
    """Imports inside functions count too: every command runs without an extra, except for what `EXTRAS` lists."""
    graph = grimp.build_graph("dvt", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None)
    imported = {name for name in graph.modules if name.partition(".")[0] != "dvt"} - sys.stdlib_module_names
    assert {"torch", "timm", "hydra", "sklearn", "yaml"} <= imported
    distributions = packages_distributions()
    by_name = {
        name: {each.lower().replace("_", "-") for each in distributions.get(name, [name])}
        for name in imported - {*EXTRAS}
    }
    base = requirements(metadata, None)
    assert {name for name, choices in by_name.items() if not choices & base} == set()
    assert not {name for name in EXTRAS if name in base}


def test_messages_name_extras_that_exist(metadata):
    files = [path for folder in ("dvt", "configs") for path in (ROOT / folder).rglob("*") if path.suffix != ".pyc"]
    texts = [path.read_text(encoding="utf-8") for path in files if path.suffix in (".py", ".yaml")]
    named = {name for text in texts for name in re.findall(r"denoising-vit\[(\w+)\]", text)}
    assert {"demo", "leaderboard", "onnx", "ray", "slurm", "sweep", "tensorboard", "video", "view"} <= named
    assert named <= set(metadata.get_all("Provides-Extra"))
    assert not any(re.search(r"(?<![\w.-])dvt\[[a-z]+\]", text) for text in texts), "dvt[...] is another project"


@pytest.mark.slow
@pytest.mark.process
def test_the_tests_of_the_sdist_run(tmp_path):
    with tarfile.open(build("sdist", tmp_path)) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (root,) = (tmp_path / "unpacked").iterdir()
    assert root.name == NAME
    for folder in (
        "dvt",
        "configs",
        "checkpoints",
        "tests",
        "scripts",
        "docs",
        "benchmarks",
        "leaderboard",
        "web",
        ".ci",
        ".github",
    ):
        files = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()]
        sources = [path for path in files if not {"__pycache__", "node_modules"} & {*path.parts}]
        assert sources and all((root / path).is_file() for path in sources), folder
    files = ("tests/test_grid.py", "tests/backbone/test_backbone_micro.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ran = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0 and " passed" in ran.stdout, ran.stdout
