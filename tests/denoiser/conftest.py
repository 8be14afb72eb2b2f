"""A small store of one ViT's features, decomposed for real."""

import pytest
from noise import write_noise

from dvt.backbone.load import load_backbone
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run_list import ListOptions, decompose_list
from dvt.denoiser.config import PairsConfig, TrainConfig
from dvt.images import find_images
from dvt.training.config import LoggerConfig, LoggerKind, OptimizerConfig, TrainerConfig


@pytest.fixture(scope="session")
def backbone():
    return load_backbone("vit_tiny_patch16_224", weights="random", image_size=64, device="cpu")


def write_images(folder, count, first=0, size=(90, 70)):
    for number in range(first, first + count):
        write_noise(folder / f"{number:02d}.png", size, seed=number)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """A folder of ten images."""
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, 10)
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory, backbone, image_folder):
    """The folder of their store."""
    path = tmp_path_factory.mktemp("stores") / "store"
    decompose_list(find_images(image_folder), backbone, path, load_quality("tiny", {"num_views": 3}), ListOptions())
    return path


@pytest.fixture(scope="session")
def options():
    """options(num_steps=8, pairs={"raw": ...}): a few steps on the CPU, nothing logged."""

    def make(**changes):
        groups = {"pairs": PairsConfig, "optimizer": OptimizerConfig}
        made = {name: kind(**changes.pop(name, {})) for name, kind in groups.items()}
        defaults = {
            "num_steps": 6, "batch_size": 4, "save_every": 2, "validate_every": 3, "show_every": 0, "log_every": 1,
            "trainer": TrainerConfig(accelerator="cpu"), "logger": LoggerConfig(kind=LoggerKind.none),
        }  # fmt: skip
        return TrainConfig(**(defaults | made | changes))

    return make
