"""Weights of a view's border and constants of views in stage 1: what a store records, and the equation."""

import pytest
import torch

import dvt
from dvt.decomposition.quality import load_quality
from dvt.decomposition.store_method import solver_settings


def test_stores_from_before_the_options_can_be_continued():
    plain = {"border_weight": 1.0, "view_offset": 0.0, "offset_radius": 0.3}
    assert not plain.keys() & solver_settings(load_quality("fast", plain))["closed_form"].keys()
    changed = {"border_weight": 0.5, "view_offset": 0.8, "offset_radius": 0.3}
    assert solver_settings(load_quality("fast", changed))["closed_form"].items() >= changed.items()


@pytest.mark.parametrize("options", [{"view_offset": 0.9}, {"border_weight": 0.3, "view_offset": 0.5}])
def test_the_equation_holds_exactly_on_the_full_view(options):
    backbone = dvt.load_backbone("vit_micro", image_size=64, device="cpu")
    image = torch.rand(3, 80, 100, generator=torch.Generator().manual_seed(0))
    result, plain = (dvt.decompose(image, backbone, num_views=9, **each) for each in (options, {}))
    torch.testing.assert_close(result.raw, result.clean + result.artifact + result.residual)
    assert torch.equal(result.raw, plain.raw) and not torch.allclose(result.clean, plain.clean)
