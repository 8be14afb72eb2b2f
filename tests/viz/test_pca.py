"""PCABasis: one basis for all maps, deterministic."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvt.errors import DvtError
from dvt.viz import PCABasis

EXACT = {"rtol": 0, "atol": 1e-6}


def noise(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planted(rows=12, columns=10, channels=8):
    """Vectors spread along three known orthonormal directions, 9, 4 and 1 wide, around a known mean."""
    directions = torch.linalg.qr(noise(channels, 3, seed=1))[0].T
    weights = noise(rows, columns, 3, seed=2) * torch.tensor([9.0, 4.0, 1.0])
    return weights @ directions + noise(channels, seed=3), directions


def test_finds_planted_directions_up_to_sign():
    feature_map, directions = planted(40, 40)
    basis = PCABasis.fit([feature_map])
    cosines = basis.components.float() @ directions.T
    torch.testing.assert_close(cosines.abs(), torch.eye(3), rtol=0, atol=0.05)


def test_components_are_orthonormal_with_largest_loading_positive():
    basis = PCABasis.fit([noise(9, 7, 16)])
    torch.testing.assert_close(basis.components @ basis.components.T, torch.eye(3).double(), **EXACT)
    largest = basis.components.abs().argmax(dim=1)
    assert (basis.components[torch.arange(3), largest] > 0).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.sampled_from(["float16", "float32", "bfloat16"]))
def test_colours_of_any_map_are_colours(rows, columns, channels, dtype):
    feature_map = noise(rows, columns, channels).to(getattr(torch, dtype))
    colours = PCABasis.fit([feature_map]).colours(feature_map)
    assert colours.shape == (rows, columns, 3)
    assert colours.dtype == torch.float32
    assert colours.isfinite().all()
    assert ((colours >= 0) & (colours <= 1)).all()


def test_range_runs_from_first_to_last_percentile():
    line = torch.arange(101.0).reshape(101, 1, 1) * torch.tensor([1.0, 0.0])  # 101 vectors along the first axis
    red = PCABasis.fit([line]).colours(line)[:, 0, 0]
    assert red[1] == pytest.approx(0, abs=1e-6)
    assert red[50] == pytest.approx(0.5)
    assert red[99] == pytest.approx(1)
    assert red[25] == pytest.approx(24 / 98)
    assert (red[0], red[100]) == (0, 1)


def test_one_outlier_does_not_compress_the_other_colours():
    feature_map, _ = planted(20, 20)
    spoiled = feature_map.clone()
    spoiled[3, 4] += 30 * (feature_map[3, 4] - feature_map.mean(dim=(0, 1)))
    spread = PCABasis.fit([spoiled]).colours(spoiled).std(dim=(0, 1))
    assert (spread > 0.1).all()


def test_equal_vectors_have_equal_colours_in_a_shared_basis():
    first, second = planted(6, 6)[0], planted(5, 9)[0] + 3
    second[2, 3] = first[1, 1]
    basis = PCABasis.fit([first, second])
    assert torch.equal(basis.colours(first)[1, 1], basis.colours(second)[2, 3])
    assert not torch.allclose(basis.colours(first), PCABasis.fit([first]).colours(first), atol=0.05)


def test_same_maps_same_bits():
    maps = [noise(9, 9, 12), noise(5, 9, 12, seed=1)]
    again = PCABasis.fit([one.clone() for one in maps])
    assert all(torch.equal(again.colours(one), PCABasis.fit(maps).colours(one)) for one in maps)


def test_order_of_maps_and_of_patches_does_not_matter():
    first, second = planted(7, 9)[0], planted(5, 5)[0]
    basis = PCABasis.fit([first, second])
    other = PCABasis.fit([second, first.flip(0, 1)])
    torch.testing.assert_close(basis.colours(first), other.colours(first), **EXACT)


def test_negated_features_keep_the_directions_and_swap_the_ends():
    feature_map, _ = planted()
    basis, negated = PCABasis.fit([feature_map]), PCABasis.fit([-feature_map])
    torch.testing.assert_close(basis.components, negated.components, **EXACT)
    torch.testing.assert_close(basis.colours(feature_map), 1 - negated.colours(-feature_map), **EXACT)


def test_shift_and_scale_of_all_features_change_nothing():
    feature_map, _ = planted()
    changed = 7 * feature_map.double() + torch.arange(8)
    expected = PCABasis.fit([feature_map]).colours(feature_map)
    torch.testing.assert_close(PCABasis.fit([changed]).colours(changed), expected, **EXACT)


@pytest.mark.parametrize("value", [0.0, 1.0, -7e4, 1e-30])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_constant_map_is_mid_grey(value, channels):
    constant = torch.full((4, 5, channels), value)
    assert torch.equal(PCABasis.fit([constant]).colours(constant), torch.full((4, 5, 3), 0.5))


def test_rounding_errors_are_not_amplified():
    nearly = 50 + noise(6, 6, 8, scale=1e-6)
    torch.testing.assert_close(PCABasis.fit([nearly]).colours(nearly), torch.full((6, 6, 3), 0.5), rtol=0, atol=0.01)


def test_missing_components_are_mid_grey():
    two_channels = noise(4, 5, 2)
    colours = PCABasis.fit([two_channels]).colours(two_channels)
    assert colours[..., :2].std() > 0.1
    assert torch.equal(colours[..., 2], torch.full((4, 5), 0.5))
    one_patch = noise(1, 1, 9)
    assert torch.equal(PCABasis.fit([one_patch]).colours(one_patch), torch.full((1, 1, 3), 0.5))


def test_other_numbers_of_components():
    feature_map = noise(4, 5, 8)
    colours = PCABasis.fit([feature_map], num_components=5).colours(feature_map)
    assert colours.shape == (4, 5, 5)
    torch.testing.assert_close(colours[..., :3], PCABasis.fit([feature_map]).colours(feature_map), **EXACT)


def test_deviation_has_the_scale_of_the_features():
    feature_map, _ = planted()
    basis = PCABasis.fit([feature_map])
    colours = basis.colours(feature_map)
    inside = ((colours > 0.1) & (colours < 0.9)).all(dim=-1).nonzero()[0].tolist()
    other = ((colours > 0.1) & (colours < 0.9)).all(dim=-1).nonzero()[-1].tolist()
    difference = (feature_map[tuple(inside)] - feature_map[tuple(other)])[None, None] / 2
    expected = 0.5 + (colours[tuple(inside)] - colours[tuple(other)]) / 2
    torch.testing.assert_close(basis.deviation_colours(difference)[0, 0], expected, **EXACT)


def test_no_deviation_is_mid_grey():
    feature_map, _ = planted()
    basis = PCABasis.fit([feature_map])
    grey = torch.full((2, 2, 3), 0.5)
    assert torch.equal(basis.deviation_colours(torch.zeros(2, 2, 8)), grey)
    origin = noise(8)
    assert torch.equal(basis.deviation_colours(origin.expand(2, 2, 8), origin), grey)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_error_names_the_map_that_is_not_finite(value):
    good, bad = noise(4, 5, 6), noise(4, 5, 6)
    bad[2, 3, 1] = value
    with pytest.raises(DvtError, match=r"map 2 of 2 has values that are NaN or infinite in 1 of 20 .*row 2, column 3"):
        PCABasis.fit([good, bad])
    with pytest.raises(DvtError, match="the feature map has values that are NaN"):
        PCABasis.fit([good]).colours(bad)


def test_maps_of_different_features_are_refused():
    with pytest.raises(DvtError, match="map 1 of 2 has 6 channels and map 2 of 2 has 7"):
        PCABasis.fit([noise(2, 2, 6), noise(2, 2, 7)])
    with pytest.raises(DvtError, match="has 7 channels, the colours were fitted to 6"):
        PCABasis.fit([noise(2, 2, 6)]).colours(noise(2, 2, 7))
    with pytest.raises(DvtError, match="no feature maps"):
        PCABasis.fit([])
