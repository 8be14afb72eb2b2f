"""Tokens that stand out by their norm."""

import math

import pytest
import torch

from dvt.diagnosis.outliers import OutlierNorms


@pytest.fixture
def maps():
    """Norms near 4 with little spread."""
    return torch.randn(50, 6, 6, 16, generator=torch.Generator().manual_seed(0))


def outliers_of(maps):
    norms = OutlierNorms()
    for part in maps.split(7):
        norms.update(part)
    return norms.result


def test_none(maps):
    found = outliers_of(maps)
    assert found.share == 0 and found.energy == 0 and math.isnan(found.ratio) and math.isnan(found.fixed)
    assert not found.rate.any() and not found.places.any()


def test_at_fixed_places(maps):
    maps[:45, 0, 5] *= 10
    found = outliers_of(maps)
    assert found.share == pytest.approx(45 / maps[..., 0].numel())
    assert found.ratio == pytest.approx(10, rel=0.05) and found.fixed == 1.0
    assert found.places.nonzero().tolist() == [[0, 5]] and float(found.rate[0, 5]) == pytest.approx(0.9)
    # 45 tokens of 100 squared norms against 1755 of one
    assert found.energy == pytest.approx(4500 / (4500 + 1755), abs=0.03)


def test_that_move_with_the_image(maps):
    for number in range(50):
        maps[number, number % 6, number * 7 % 6] *= 10
    found = outliers_of(maps)
    assert found.share == pytest.approx(1 / 36) and found.fixed == 0.0 and not found.places.any()


def test_the_threshold_is_the_larger_of_two(maps):
    wide = maps * torch.linspace(0.2, 3, 6)[:, None]  # a wide spread of norms: six deviations are the larger
    for each in (maps, wide):
        norms = each.norm(dim=-1)
        spread = 1.4826 * (norms - norms.median()).abs().median()
        expected = max(norms.median() + 6 * spread, 2 * norms.median())
        assert outliers_of(each).threshold == pytest.approx(float(expected), rel=1e-5)
    assert outliers_of(wide).threshold > 2 * outliers_of(wide).median * 1.2


def test_normed_tokens_have_none():
    normed = torch.nn.functional.normalize(torch.randn(9, 5, 5, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    normed[:, 0, 0] *= 1.5  # many robust deviations, and yet not twice the median
    assert outliers_of(normed).share == 0


def test_zero_features():
    assert outliers_of(torch.zeros(3, 2, 2, 4)).share == 0
