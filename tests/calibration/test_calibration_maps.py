"""The maps of a calibration, on planted features and against other ways to compute them."""

import pytest
import torch

from dvt.calibration.maps import components, erased, subtracted, without_directions
from dvt.calibration.sums import PositionSums
from dvt.errors import ConfigError

HW, CHANNELS = (3, 4), 6


def added(maps, channels=CHANNELS, hw=HW):
    sums = PositionSums(hw[0] * hw[1], channels)
    for image in maps.split(4):
        sums.add(image)
    return sums


def applied(found, maps):
    pattern = found.pattern.reshape(*maps.shape[1:3], -1)
    return maps.double() @ found.weight.T + found.bias + pattern


def planted(count, directions, *, seed):
    """Maps of a skewed content, and a part along (R, C) directions that depends on the position alone."""
    torch.manual_seed(0)
    skew = torch.randn(CHANNELS, CHANNELS)
    places = torch.randn(HW[0] * HW[1], len(directions)).reshape(*HW, -1)
    torch.manual_seed(seed)
    return torch.randn(count, *HW, CHANNELS) @ skew + 3 * places @ directions + 100


def test_sums_are_mean_and_covariance():
    maps = torch.randn(12, *HW, CHANNELS) * torch.logspace(-2, 2, CHANNELS) + 1e4
    sums = added(maps)
    tokens = maps.double().flatten(0, 2)
    torch.testing.assert_close(sums.mean, tokens.mean(dim=0))
    torch.testing.assert_close(sums.covariance, torch.cov(tokens.T, correction=0), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(sums.mean_map, maps.double().mean(dim=0).flatten(0, 1))
    torch.testing.assert_close(sums.pattern, sums.mean_map - sums.mean_map.mean(dim=0), rtol=1e-6, atol=1e-6)


def test_images_of_one_scene_have_a_small_share():
    scenes = torch.randn(6, 1, 1, 1, CHANNELS)
    noise = torch.randn(6, 4, *HW, CHANNELS)
    assert added((scenes + noise).flatten(0, 1)).image_share == pytest.approx(0.5, abs=0.15)
    assert added((scenes[:1] + noise).flatten(0, 1)).image_share < 0.05


def test_subtracting_a_pattern_gives_back_the_content():
    content, pattern = torch.randn(8, *HW, CHANNELS).double(), torch.randn(*HW, CHANNELS).double()
    content -= content.mean(dim=0)  # what all images share is no content
    clean = applied(subtracted(added(content + pattern).pattern), content + pattern)
    torch.testing.assert_close(clean, content + pattern.mean(dim=(0, 1)))


def test_erasing_leaves_no_position_in_the_planted_directions():
    directions = torch.randn(2, CHANNELS)
    used, held_out = (planted(400, directions, seed=seed) for seed in (1, 2))
    found = erased(added(used), added(held_out), None, centre=False)
    assert found.numbers["rank"] == 2 and found.numbers["largest share of a direction"] > 0.5
    assert torch.linalg.matrix_rank(found.weight, rtol=1e-6) == CHANNELS - 2
    before, after = added(held_out).pattern, added(applied(found, held_out)).pattern
    assert after.square().sum() < 0.01 * before.square().sum()
    assert not found.pattern.any()
    centred = erased(added(used), added(held_out), None, centre=True)
    assert added(applied(centred, used)).pattern.abs().max() < 1e-6


def test_one_direction_of_two_positions_is_leace():
    """With two positions there is one concept z: x - S_xz S_zx S^-1 (x - mean) / (S_zx S^-1 S_xz)."""
    maps = torch.randn(50, 1, 2, CHANNELS).double() @ torch.randn(CHANNELS, CHANNELS).double()
    maps[:, :, 1] += torch.randn(CHANNELS).double()
    sums = added(maps, hw=(1, 2))
    found = erased(sums, sums, 1, centre=False)
    tokens = maps.flatten(0, 2)
    z = torch.tensor([-1.0, 1.0]).double().repeat(len(maps))
    cross = (tokens - tokens.mean(dim=0)).T @ z / len(z)
    read = torch.linalg.solve(torch.cov(tokens.T, correction=0), cross)
    wanted = tokens - torch.outer((tokens - tokens.mean(dim=0)) @ read / (cross @ read), cross)
    torch.testing.assert_close(applied(found, maps).flatten(0, 2), wanted)
    assert abs((applied(found, maps).flatten(0, 2) * z[:, None]).mean(dim=0)).max() < 1e-8, "no linear probe reads it"


def test_channels_without_variance_stay():
    maps = torch.randn(40, *HW, CHANNELS)
    maps[..., 2] = 7.0
    sums = added(maps)
    clean = applied(erased(sums, sums, 2, centre=False), maps)
    torch.testing.assert_close(clean[..., 2], torch.full_like(clean[..., 2], 7.0))


def test_directions_of_a_map_are_projected_out_around_the_mean():
    pattern, mean = torch.randn(12, CHANNELS).double(), torch.randn(CHANNELS).double()
    found = without_directions(pattern, mean, 2)
    torch.testing.assert_close(found.weight, found.weight.T)
    torch.testing.assert_close(found.weight @ found.weight, found.weight)
    left = torch.linalg.svdvals((pattern - pattern.mean(dim=0)) @ found.weight)
    torch.testing.assert_close(left[:4], torch.linalg.svdvals(pattern - pattern.mean(dim=0))[2:])
    torch.testing.assert_close(found.weight @ mean + found.bias, mean)
    with pytest.raises(ConfigError, match=r"rank=9: the mean map has 5 directions"):
        without_directions(pattern, mean, 9)


def test_components_are_those_of_standardised_blocks():
    first, second = torch.randn(2, 60, *HW, CHANNELS).double()
    maps = torch.cat([first @ torch.randn(CHANNELS, CHANNELS).double() * 100, second], dim=-1)
    sums = added(maps, 2 * CHANNELS)
    found = components(sums, 2, 5.0, centre=False)
    tokens = maps.flatten(0, 2) - sums.mean
    units = tokens.reshape(-1, 2, CHANNELS).square().mean(dim=(0, 2)).sqrt().repeat_interleave(CHANNELS)
    _, _, principal = torch.linalg.svd(tokens / units, full_matrices=False)
    wanted = tokens / units @ principal[:CHANNELS].T
    given = applied(found, maps).flatten(0, 2)
    assert given.var(dim=0, correction=0).sum() == pytest.approx(5.0)
    ratio = (given * wanted).sum(dim=0) / (given.norm(dim=0) * wanted.norm(dim=0))
    torch.testing.assert_close(ratio.abs(), torch.ones_like(ratio))
    assert added(applied(components(sums, 2, 5.0, centre=True), maps)).pattern.abs().max() < 1e-9
