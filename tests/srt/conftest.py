"""Backbones whose features are known functions of the pixels, and a small real ViT."""

import pytest
import torch
from planted_vit import Planted

from dvt.backbone.backbone import Backbone, Readout
from dvt.backbone.sources.timm_build import build_vit
from dvt.backbone.sources.timm_reader import TimmReader
from dvt.backbone.weights import state_hash
from dvt.runtime import Precision

SMALL = {"depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2}


@pytest.fixture(scope="session")
def small_vit():
    """(timm name, image_hw, stride, precision) -> a real ViT of two narrow blocks, weights far from zero."""

    def make(timm_name="vit_tiny_patch16_224", image_hw=(48, 80), stride=None, precision="fp32", **architecture):
        vit = build_vit(timm_name, **{**SMALL, **architecture})
        rng = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in vit.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=rng) * 0.05)
        readout = Readout.of(TimmReader(vit.eval()).facts, image_hw, stride, -1, True)
        weights_hash = state_hash(vit)
        return Backbone(
            TimmReader(vit), readout, name="small", weights_hash=weights_hash, precision=Precision.parse(precision)
        )

    return make


@pytest.fixture(scope="session")
def planted():
    """planted(tokens, patch=4, image_hw=(12, 20), stride=None, prefix=None) -> Planted."""
    return Planted


@pytest.fixture(scope="session")
def make_images():
    """make_images(count, height, width) -> the same each time, in [0, 1]."""
    return lambda *shape: torch.rand(
        shape[0], 3, shape[1], shape[2], generator=torch.Generator().manual_seed(2), dtype=torch.float32
    )
