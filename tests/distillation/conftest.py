"""A small ViT with a denoiser behind it, and images."""

import pytest
import torch
from PIL import Image

from dvt.backbone.backbone import Backbone, Readout
from dvt.backbone.load import load_backbone
from dvt.backbone.sources.timm_build import build_vit
from dvt.backbone.sources.timm_reader import TimmReader
from dvt.backbone.weights import state_hash
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run_list import ListOptions, decompose_list
from dvt.denoiser.config import DenoiserConfig
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.denoiser.network import Denoiser
from dvt.distillation.config import DistillConfig, ImagesConfig, LabelsConfig, MixingConfig, StudentConfig
from dvt.images import find_images
from dvt.runtime import Precision
from dvt.training.config import LoggerConfig, LoggerKind, OptimizerConfig, TrainerConfig

SMALL = {"depth": 2, "embed_dim": 64, "num_heads": 4, "mlp_ratio": 4}


@pytest.fixture(scope="session")
def make_backbone():
    """(timm name, layer, norm, precision, **architecture) -> a ViT of two narrow blocks, weights far from zero."""

    def make(timm_name="vit_tiny_patch16_224", layer=-1, norm=True, precision="fp32", **architecture):
        vit = build_vit(timm_name, **{**SMALL, **architecture})
        rng = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in vit.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=rng) * 0.05)
        side = 4 * vit.patch_embed.patch_size[0]
        readout = Readout.of(TimmReader(vit.eval()).facts, (side, side), None, layer, norm)
        weights_hash = state_hash(vit)
        return Backbone(
            TimmReader(vit), readout, name="small", weights_hash=weights_hash, precision=Precision.parse(precision)
        )

    return make


@pytest.fixture(scope="session")
def make_teacher(make_backbone):
    """make_teacher(...) as `make_backbone`: a ViT with a denoiser whose weights are drawn from `seed`."""

    def make(*names, seed=0, **options):
        backbone = make_backbone(*names, **options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            denoiser = Denoiser(DenoiserConfig(head_channels=16), backbone.num_channels, backbone.grid.hw)
            denoiser.requires_grad_(False).pos_embed.mul_(50)
        return DenoisedBackbone(backbone, denoiser)

    return make


@pytest.fixture(scope="session")
def teacher(make_teacher):
    return make_teacher()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder of twelve images: a bright spot each, on noise."""
    path = tmp_path_factory.mktemp("photos")
    for number in range(12):
        rng = torch.Generator().manual_seed(number)
        image = torch.rand((90, 70, 3), generator=rng) * 60
        top, left = 5 * number, 40 - 3 * number
        image[top : top + 30, left : left + 30] += 40 + 12 * number
        Image.fromarray(image.byte().numpy()).save(path / f"{number:02d}.png")
    return path


@pytest.fixture(scope="session")
def images(folder):
    return find_images(folder)


@pytest.fixture(scope="session")
def options():
    """options(num_steps=8, student={"trained_blocks": 1}): a few steps on the CPU, nothing logged."""

    def make(**changes):
        groups = {
            "student": StudentConfig, "dataset": ImagesConfig, "optimizer": OptimizerConfig, "mixing": MixingConfig,
            "labels": LabelsConfig,
        }  # fmt: skip
        made = {name: kind(**changes.pop(name, {})) for name, kind in groups.items()}
        defaults = {
            "num_steps": 6, "batch_size": 4, "save_every": 2, "validate_every": 3, "show_every": 0, "log_every": 1,
            "trainer": TrainerConfig(accelerator="cpu"), "logger": LoggerConfig(kind=LoggerKind.none),
        }  # fmt: skip
        return DistillConfig(**(defaults | made | changes))

    return make


@pytest.fixture(scope="session")
def micro():
    """micro(64) -> vit_micro at an image size."""
    return lambda image_size, **readout: load_backbone("vit_micro", image_size=image_size, device="cpu", **readout)


@pytest.fixture(scope="session")
def decomposed(tmp_path_factory, images, micro):
    """decomposed(32, fine=2) -> the folder of a store of the twelve images; each is made once."""
    folder, made = tmp_path_factory.mktemp("stores"), {}

    def make(image_size, fine=1):
        if (image_size, fine) not in made:
            path = made[image_size, fine] = folder / f"{image_size}-{fine}"
            config = load_quality("tiny", {"num_views": 3, "fine": fine})
            decompose_list(images, micro(image_size), path, config, ListOptions())
        return made[image_size, fine]

    return make
