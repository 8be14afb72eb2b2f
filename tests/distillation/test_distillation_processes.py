"""Training in two processes: as one, or not at all."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from dvt.backbone.load import load_backbone
from dvt.cli.main import run
from dvt.denoiser.config import DenoiserConfig
from dvt.denoiser.network import Denoiser
from dvt.training.processes import bit_sums
from dvt.weights.folder import read_model_folder, write_model_folder
from dvt.weights.info import ModelInfo

VIT = {"weights": "random", "image_size": 64, "device": "cpu"}
OPTIONS = (
    "backbone.timm=vit_tiny_patch16_224", "backbone.weights=random", "denoiser=denoiser", "num_steps=4", "batch_size=4",
    "save_every=2", "validate_every=4", "show_every=0", "log_every=1", "optimizer.base_learning_rate=5e-4",
    "trainer=cpu",
)  # fmt: skip
TWO = ("trainer.devices=2", "trainer.strategy=ddp")
DVT = (sys.executable, "-m", "dvt")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "dvt")
UNSYNCHRONISED = """
from lightning.pytorch.strategies import DDPStrategy
DDPStrategy._setup_model = lambda self, model: model      # nothing brings the gradients together
from dvt.cli.main import main
main()
"""


@pytest.fixture
def place(tmp_path, folder, monkeypatch):
    """A working folder with photos and a denoiser."""
    vit = load_backbone("vit_tiny_patch16_224", **VIT)
    torch.manual_seed(0)
    denoiser = Denoiser(DenoiserConfig(), vit.num_channels, vit.grid.hw)
    info = ModelInfo(
        kind="denoiser",
        spec=vit.spec,
        architecture={},
        training={},
        metrics={},
        base_license=None,
        code_version="0",
    )
    write_model_folder(tmp_path / "denoiser", denoiser.state_dict(), info)
    (tmp_path / "photos").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(*command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def moved(out):
    """How far each weight of the ViT went, and those of a linear layer, as one vector."""
    before = load_backbone("vit_tiny_patch16_224", **VIT).vit.state_dict()
    after = {name.removeprefix("backbone."): tensor for name, tensor in read_model_folder(out)[0].items()}
    layer = [tensor.flatten() for name, tensor in after.items() if name.startswith("denoiser.")]
    return torch.cat([*((after[key] - before[key]).flatten() for key in before), *layer])


def losses(out):
    (table,) = (out / "logs").glob("*/metrics.csv")
    with table.open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


@pytest.mark.ddp
@pytest.mark.parametrize(
    ("launcher", "layers"),
    [
        (DVT, "[]"),
        pytest.param(DVT, "all", marks=pytest.mark.slow),
        pytest.param(TORCHRUN, "[]", marks=pytest.mark.slow),
    ],
    ids=["dvt", "dvt with a linear layer", "torchrun"],
)
def test_two_processes_learn_what_one_does(launcher, layers, place):
    """What saves checkpoints has compared the weights of both processes by then."""
    options = (*OPTIONS, f"student.layers={layers}")
    done = start(*launcher, "distill", *options, "images=photos", "out=two", *TWO)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("12 images -> two") == 1 and done.stderr.count("written: two") == 1
    assert run(["distill", *options, "images=photos", "out=one"]) == 0
    one, two = moved(place / "one"), moved(place / "two")
    assert float((two - one).norm() / one.norm()) < 2e-3  # not bit by bit: the sums are taken in another order
    halves, wholes = losses(place / "two"), losses(place / "one")
    assert len(halves) == len(wholes) == 4
    assert all(abs(half - whole) > 1e-4 for half, whole in zip(halves, wholes, strict=True))  # each sees its own half


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_mix_their_own_images(place):
    """Each mirrors its own part of the batch; what saves checkpoints has compared their weights."""
    mixing = ("mixing.kind=unmix", "images=photos")
    done = start(*DVT, "distill", *OPTIONS, *mixing, "out=two", *TWO)
    assert done.returncode == 0, done.stderr
    assert float(moved(place / "two").norm()) > 0
    few = start(*DVT, "distill", *OPTIONS, *mixing, "out=few", "batch_size=2", *TWO)
    assert few.returncode == 2 and "batch_size=2 gives each of 2 one: give batch_size=4 or more" in few.stderr


@pytest.mark.slow
def test_processes_that_drift_apart_are_found_before_anything_is_saved(place):
    script = place / "unsynchronised.py"
    script.write_text(UNSYNCHRONISED)
    done = start(sys.executable, str(script), "distill", *OPTIONS, "images=photos", "out=two", *TWO)
    assert done.returncode == 2
    assert "after step 2 the 2 processes hold different weights" in done.stderr
    assert not list((place / "two").glob("checkpoints/*.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_where_one_process_fails_all_end_and_say_why(seed, place):
    photos = place / "damaged"
    photos.mkdir()
    for number, path in enumerate(sorted(Path("photos").iterdir())):
        (photos / path.name).write_bytes(path.read_bytes()[: 300 if number == 4 else None])
    done = start(*DVT, "distill", *OPTIONS, "images=damaged", "out=two", f"seed={seed}", *TWO)
    assert done.returncode == 2
    assert "damaged/04.png is damaged" in done.stderr and "Traceback" not in done.stderr


def test_the_sums_of_bits_show_the_smallest_change():
    network = nn.Sequential(nn.Linear(50, 30), nn.LayerNorm(30))
    before = bit_sums(network)
    assert before.shape == (4,) and before.dtype == torch.int64
    assert torch.equal(bit_sums(network), before)
    with torch.no_grad():
        weight = network[0].weight[7, 3]
        network[0].weight[7, 3] = torch.nextafter(weight, weight + 1)
    assert (bit_sums(network) != before).tolist() == [True, False, False, False]
    assert bit_sums(network.to(torch.bfloat16)).shape == (4,)
