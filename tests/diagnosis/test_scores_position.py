"""The share of variance that position explains: plain, and without chance; and how coarse the pattern is."""

import math

import pytest
import torch

from dvt.diagnosis.position import LockedPattern, PositionShare, frequency_energy, low_frequencies

ROWS, COLUMNS, CHANNELS = 8, 10, 6


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def noise(count, rng):
    return torch.randn(count, ROWS, COLUMNS, CHANNELS, generator=rng)


def pattern_of(maps):
    pattern = LockedPattern()
    for numbers in torch.arange(len(maps)).split(7):
        pattern.update(maps[numbers], numbers.tolist())
    return pattern


def share_of(maps, batches=1):
    share = PositionShare()
    for part in maps.chunk(batches):
        share.update(part)
    return share.value


def test_what_depends_on_position_alone_has_all_of_the_variance():
    assert share_of(torch.randn(4, 5, 3).expand(6, 4, 5, 3)) == pytest.approx(1.0)


def test_what_does_not_has_next_to_none(rng):
    assert share_of(torch.randn(500, 4, 5, 3, generator=rng)) == pytest.approx(1 / 500, rel=0.3)


def test_a_known_mixture(rng):
    position = torch.randn(4, 6, 8, generator=rng)
    position = (position - position.mean(dim=(0, 1))) / position.std()
    maps = 3.0 * position + torch.randn(2000, 4, 6, 8, generator=rng)
    assert share_of(maps) == pytest.approx(9 / 10, abs=0.01)


def test_a_constant_is_no_artifact_and_batches_do_not_matter(rng):
    maps = torch.randn(12, 4, 4, 3, generator=rng)
    assert share_of(maps + 100.0) == pytest.approx(share_of(maps), rel=1e-4)
    assert share_of(maps, batches=5) == pytest.approx(share_of(maps))


def test_maps_without_any_variance_have_none():
    assert share_of(torch.ones(3, 2, 2, 4)) == 0.0


def test_chance_is_no_pattern(rng):
    maps = noise(20, rng)
    share = PositionShare()
    share.update(maps)
    assert share.value == pytest.approx(0.05, rel=0.2)  # 1 / n
    assert abs(pattern_of(maps).share()) < 0.005


def test_smooth_images_are_no_pattern_either(rng):
    smooth = torch.randn(400, 1, 1, CHANNELS, generator=rng) * torch.linspace(-1, 1, ROWS)[:, None, None]
    assert abs(pattern_of(smooth.expand(-1, -1, COLUMNS, -1)).share()) < 0.02


def test_a_known_share(rng):
    fixed = torch.randn(ROWS, COLUMNS, CHANNELS, generator=rng)
    fixed = (fixed - fixed.mean(dim=(0, 1))) / fixed.std()
    pattern = pattern_of(noise(400, rng) + fixed / 2)
    assert pattern.share() == pytest.approx(0.2, abs=0.01)
    assert float(pattern.map.mean()) == pytest.approx(pattern.share())


def test_windows_of_one_image_stay_in_one_half(rng):
    """Two windows that share content would otherwise look like a pattern."""
    maps = noise(40, rng)
    twice = LockedPattern()
    for _ in range(2):
        twice.update(maps, list(range(40)))
    assert twice.share() == pytest.approx(pattern_of(maps).share(), abs=1e-6)


def test_where_and_without(rng):
    maps = noise(200, rng)
    maps[:, 3, 4] += 6.0
    pattern, rest = pattern_of(maps), torch.ones(ROWS, COLUMNS, dtype=torch.bool)
    rest[3, 4] = False
    assert pattern.map.argmax() == 3 * COLUMNS + 4 and pattern.share() > 0.2
    assert abs(pattern.share(rest)) < 0.003


@pytest.mark.parametrize(
    ("shape", "low"),
    [
        (lambda y, x: y, 0.98),
        (lambda y, x: x + 2 * y, 0.98),
        (lambda y, x: torch.cos(2 * torch.pi * x), 0.85),
        (lambda y, x: torch.cos(8 * torch.pi * x), -0.1),
        (lambda y, x: ((x * COLUMNS).long() + (y * ROWS).long()) % 2 * 1.0, -0.1),
    ],
    ids=["ramp", "diagonal", "one wave", "four waves", "board"],
)
def test_ramps_are_low_and_patterns_are_not(rng, shape, low):
    y, x = torch.meshgrid((torch.arange(ROWS) + 0.5) / ROWS, (torch.arange(COLUMNS) + 0.5) / COLUMNS, indexing="ij")
    maps = 0.3 * noise(60, rng) + shape(y, x)[..., None]
    share = pattern_of(maps).low_frequency()
    assert share > low if low > 0 else share < 0.1


def test_the_rest_of_a_ramp_beside_outliers_is_low(rng):
    maps = 0.3 * noise(60, rng) + torch.linspace(-1, 1, COLUMNS)[:, None]
    maps[:, 0, 0] += 100.0
    pattern, rest = pattern_of(maps), torch.ones(ROWS, COLUMNS, dtype=torch.bool)
    rest[0, 0] = False
    assert pattern.low_frequency() < 0.3 and pattern.low_frequency(rest) > 0.9


def test_no_pattern_has_no_frequencies():
    assert math.isnan(pattern_of(torch.ones(4, ROWS, COLUMNS, CHANNELS)).low_frequency())
    assert pattern_of(torch.ones(4, ROWS, COLUMNS, CHANNELS)).share() == 0.0


def test_the_frequencies_hold_all_of_the_energy(rng):
    first, second = torch.randn(2, ROWS, COLUMNS, 3, generator=rng, dtype=torch.float64)
    energy = frequency_energy(first, second)
    assert float(energy.sum()) == pytest.approx(float((first * second).sum()))
    scipy = pytest.importorskip("scipy.fft")
    expected = (
        scipy.dctn(first.numpy(), axes=(0, 1), norm="ortho") * scipy.dctn(second.numpy(), axes=(0, 1), norm="ortho")
    ).sum(-1)
    torch.testing.assert_close(energy, torch.from_numpy(expected))
    assert low_frequencies(energy).sum() == 6  # 0 0, 0 1, 0 2, 1 0, 1 1, 2 0
