"""Layouts of the views in stage 1: what a store records, and what held-out views are."""

import pytest
import torch

import dvt
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run import extract_tokens
from dvt.decomposition.store_method import solver_settings


@pytest.fixture(scope="module")
def vit():
    return dvt.load_backbone("vit_micro", image_size=64, device="cpu")


def test_stores_from_before_the_layouts_can_be_continued():
    assert "layout" not in solver_settings(load_quality("fast", {"layout": "random"}))["views"]
    assert solver_settings(load_quality("fast", {"layout": "sobol"}))["views"]["layout"] == "sobol"


def test_held_out_views_are_random_and_the_same_for_every_layout(vit):
    image = torch.rand(3, 80, 100, generator=torch.Generator().manual_seed(0))
    options = {"num_views": 5, "held_out_views": 2}
    (random, held), *others = (
        extract_tokens(image, vit, load_quality("fast", options | {"layout": layout}), 0)
        for layout in ("random", "sobol", "grid")
    )
    for tokens, kept in others:
        torch.testing.assert_close(kept.image_xy, held.image_xy)
        assert not torch.equal(tokens.image_xy[:-1], random.image_xy[:-1])
        torch.testing.assert_close(tokens.image_xy[-1], random.image_xy[-1])


@pytest.mark.parametrize("layout", ["sobol", "grid"])
def test_a_decomposition_with_a_layout_is_the_same_every_time(vit, layout):
    image = torch.rand(3, 80, 100, generator=torch.Generator().manual_seed(0))
    one, two = (dvt.decompose(image, vit, num_views=9, layout=layout, seed=3) for _ in range(2))
    assert torch.equal(one.clean, two.clean)
    torch.testing.assert_close(one.raw, one.clean + one.artifact + one.residual)


@pytest.mark.parametrize("layout", ["random", "sobol", "grid"])
@pytest.mark.parametrize("size", [(16, 16), (16, 900), (900, 16)])
def test_windows_of_one_or_a_few_pixels(vit, layout, size):
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    result = dvt.decompose(image, vit, quality="draft", layout=layout, area_min=0.001, num_views=20)
    assert result.clean.isfinite().all() and result.artifact.isfinite().all()
    torch.testing.assert_close(result.raw, result.clean + result.artifact + result.residual, atol=1e-5, rtol=0)
