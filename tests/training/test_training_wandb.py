"""Weights & Biases itself, offline, in a process of its own: it keeps threads and a service running."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.wandb
SCRIPT = """
import sys
from dvt.cli.main import run
few = "num_steps=4 batch_size=2 save_every=2 validate_every=2 show_every=2 log_every=1 trainer=cpu".split()
sys.exit(run(["train", "store=store", "out=run", "logger=wandb", *few, *sys.argv[1:]]))
"""


@pytest.fixture
def place(tmp_path):
    import torch

    from dvt.grid import PatchGrid
    from dvt.spec import FeatureSpec
    from dvt.store import StoreMeta, StoreWriter

    meta = StoreMeta(
        spec=FeatureSpec(
            backbone="vit_tiny_patch16_224", weights_hash="0123", layer=11, norm=True, grid=PatchGrid.of((32, 32), 16),
            channels=64,
        ),
        solver={"solver": "closed_form"}, quality="fast", code_version="0",
    )  # fmt: skip
    with StoreWriter.open(tmp_path / "store", meta) as writer:
        for number in range(4):
            writer.put(f"{number}.png", {name: torch.randn(meta.shape) for name in meta.arrays})
    return tmp_path


def train(place, *options, **variables):
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(place),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": ":".join(sys.path),
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *options],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_offline_it_needs_no_account_and_keeps_its_files_in_the_run(place):
    ran = train(place, "logger.offline=true")
    assert ran.returncode == 0, ran.stderr
    (folder,) = (place / "run" / "wandb").glob("offline-run-*")
    run_id = (place / "run" / "wandb_run").read_text().strip()
    (journal,) = folder.glob("*.wandb")
    assert folder.name.endswith(run_id) and journal.stat().st_size > 0
    assert b"val/mse" in journal.read_bytes() and b"train/loss" in journal.read_bytes()
    assert list(folder.glob("files/media/images/val/samples*.png"))


@pytest.mark.slow
def test_its_environment_variables_are_honoured(place):
    ran = train(
        place, WANDB_MODE="offline", WANDB_PROJECT="mine", WANDB_NAME="first", WANDB_RUN_ID="abc", WANDB_DIR="w"
    )
    assert ran.returncode == 0, ran.stderr
    (folder,) = (place / "w" / "wandb").glob("offline-run-*")
    (journal,) = folder.glob("*.wandb")
    assert folder.name.endswith("abc") and b"mine" in journal.read_bytes() and b"first" in journal.read_bytes()
    ran = train(place, "out=other", WANDB_MODE="disabled")
    assert ran.returncode == 0, ran.stderr
    assert not list((place / "other").rglob("*.wandb"))


@pytest.mark.slow
def test_a_sweep_makes_a_run_of_each(place):
    ran = train(place, "logger.offline=true", "-m", "seed=1,2", "out=run${seed}")
    assert ran.returncode == 0, ran.stderr
    for name in ("run1", "run2"):
        (folder,) = (place / name / "wandb").glob("offline-run-*")
        assert folder.name.endswith((place / name / "wandb_run").read_text().strip())


@pytest.mark.slow
def test_without_an_account_it_says_what_to_do(place):
    ran = train(place)
    assert ran.returncode == 2
    assert "logger=wandb has no account here: run `wandb login`" in ran.stderr
    assert "Traceback" not in ran.stderr
