"""Small untrained ViTs of every family."""

import pytest
import torch
from small_vits import SMALL

from dvt.backbone.backbone import Backbone, Readout
from dvt.backbone.sources.timm_build import build_vit
from dvt.backbone.sources.timm_reader import TimmReader
from dvt.runtime import Precision


@pytest.fixture
def small_vit():
    """timm name -> a ViT of that family with two narrow blocks and weights far from zero."""

    def make(timm_name="vit_tiny_patch16_224", **architecture):
        vit = build_vit(timm_name, **{**SMALL, **architecture})
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in vit.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
        return vit.eval()

    return make


@pytest.fixture
def small_backbone(small_vit):
    """As `small_vit`, frozen: (timm name, image_hw, stride, layer, norm, precision) -> Backbone."""

    def make(
        timm_name="vit_tiny_patch16_224", image_hw=None, stride=None, layer=-1, norm=True, precision="fp32", **more
    ):
        vit = small_vit(timm_name, **more)
        patch = vit.patch_embed.patch_size[0]
        readout = Readout.of(TimmReader(vit).facts, image_hw or (3 * patch, 5 * patch), stride, layer, norm)
        return Backbone(TimmReader(vit), readout, name="small", weights_hash="0", precision=Precision.parse(precision))

    return make


@pytest.fixture
def images():
    """(count, height, width) -> pictures in [0, 1], the same each time."""

    def make(*shape):
        count, height, width = shape
        return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(2))

    return make
