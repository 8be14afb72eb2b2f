"""Small untrained ViTs of several families, with and without a denoiser."""

import pytest
import torch

from dvt.backbone.backbone import Backbone, Readout
from dvt.backbone.sources.timm_build import build_vit
from dvt.backbone.sources.timm_reader import TimmReader
from dvt.denoiser.config import DenoiserConfig, Kind, Mixing
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.denoiser.network import Denoiser
from dvt.runtime import Precision

NARROW = {"depth": 2, "embed_dim": 64, "num_heads": 4, "mlp_ratio": 4}


def far_from_zero(module, seed=1):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return module.eval()


@pytest.fixture(scope="session")
def narrow():
    """What makes the ViTs of `model` small, in timm's words."""
    return NARROW


@pytest.fixture(scope="session")
def model():
    """(timm name, image_hw, stride, layer, norm, denoised, architecture) -> Backbone or DenoisedBackbone."""

    def make(
        timm_name="vit_tiny_patch16_224",
        image_hw=None,
        stride=None,
        layer=-1,
        norm=True,
        denoised=True,
        precision="fp32",
        kind="block",
        layers=(),
        mixing="residual",
        architecture=NARROW,
    ):
        vit = far_from_zero(build_vit(timm_name, **architecture))
        patch = vit.patch_embed.patch_size[0]
        readout = Readout.of(TimmReader(vit).facts, image_hw or (3 * patch, 5 * patch), stride, layer, norm)
        raw = Backbone(TimmReader(vit), readout, name="small", weights_hash="0", precision=Precision.parse(precision))
        if not denoised:
            return raw
        heads = {"head_channels": 16} if kind == "block" else {}
        config = DenoiserConfig(kind=Kind(kind), **heads, layers=[*layers], mixing=Mixing(mixing)).for_layers(
            raw.layers
        )
        return DenoisedBackbone(raw, far_from_zero(Denoiser(config, raw.num_channels, (4, 4)), seed=2))

    return make


@pytest.fixture
def images():
    """(count, height, width) -> pictures in [0, 1], the same each time."""

    def make(*shape):
        count, height, width = shape
        return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(3))

    return make
