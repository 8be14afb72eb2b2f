"""The MIC against known values, published ones, and all grids of a few points."""

from itertools import combinations

import numpy as np
import pytest
import torch

from dvt.diagnosis.mic import best_columns, mic, position_mic
from dvt.diagnosis.probe import TokenSample


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    "curve",
    [lambda x: x, lambda x: -x, lambda x: x**3, lambda x: np.sin(4 * np.pi * x), lambda x: (x - 0.5) ** 2],
    ids=["line", "falling", "cube", "sine", "parabola"],
)
def test_noiseless_curves_have_one(curve):
    x = np.linspace(0, 1, 400)
    assert mic(x, curve(x)) == pytest.approx(1.0, abs=0.01)


def test_the_published_example():
    """The example in the documentation of minepy 1.0, `MINE(alpha=0.6, c=15)`: 1.0 and 0.505716693417."""
    x = np.linspace(0, 1, 1000)
    y = np.sin(10 * np.pi * x) + x
    assert mic(x, y) == pytest.approx(1.0)
    noise = np.random.RandomState(0).uniform(-1, 1, 1000)
    assert mic(x, y + noise) == pytest.approx(0.505716693417, abs=1e-9)


def test_independent_quantities_have_little_and_less_with_more_points(rng):
    few, many = (np.mean([mic(rng.random(size), rng.random(size)) for _ in range(4)]) for size in (60, 800))
    assert many < 0.6 * few and many < 0.17


def test_a_circle_is_found_though_nothing_correlates(rng):
    angle = rng.random(500) * 2 * np.pi
    assert mic(np.cos(angle), np.sin(angle)) > 0.6


def test_units_and_order_do_not_matter(rng):
    x, noise = rng.random(200), rng.random(200)
    y = np.sin(5 * x) + noise
    assert mic(np.exp(x), 3 * y - 7) == pytest.approx(mic(x, y))
    assert mic(y, x) == pytest.approx(mic(x, y))
    order = rng.permutation(200)
    assert mic(x[order], y[order]) == pytest.approx(mic(x, y))


def information(table):
    joint = table / table.sum()
    apart = joint.sum(0, keepdims=True) * joint.sum(1, keepdims=True)
    return (joint[joint > 0] * np.log(joint[joint > 0] / apart[joint > 0])).sum()


def test_the_best_columns_are_the_best_of_all(rng):
    table = rng.integers(0, 6, (7, 3))
    found = best_columns(table, 4)
    for columns, value in zip((2, 3, 4), found, strict=True):
        cuts = combinations(range(1, 7), columns - 1)
        assert value == pytest.approx(max(information(np.add.reduceat(table, [0, *cut])) for cut in cuts))


def every_grid(x, y, cells):
    """The MIC by its definition: every grid of at most so many cells over points without ties."""
    x, y, best = x.argsort().argsort(), y.argsort().argsort(), 0.0
    for columns in range(2, cells // 2 + 1):
        for rows in range(2, cells // columns + 1):
            for x_cuts in combinations(range(1, len(x)), columns - 1):
                for y_cuts in combinations(range(1, len(x)), rows - 1):
                    table = np.zeros((columns, rows))
                    np.add.at(table, (np.searchsorted(x_cuts, x, "right"), np.searchsorted(y_cuts, y, "right")), 1)
                    best = max(best, information(table) / np.log(min(columns, rows)))
    return best


def test_all_grids_of_a_few_points(rng):
    """The estimator cuts one axis into equal parts, so it may miss the best grid by a little, and never exceeds it."""
    gaps = []
    for _ in range(6):
        x = rng.random(10)
        y = x + 0.4 * rng.random(10)
        exact, found = every_grid(x, y, 6), mic(x, y, bound=6)
        assert found <= exact + 1e-12
        gaps.append(exact - found)
    assert np.mean(gaps) < 0.1


def test_values_that_repeat(rng):
    place = np.repeat(np.arange(10), 40)
    assert mic(place, place + 0.0) == pytest.approx(1.0)
    assert mic(np.zeros(400), rng.random(400)) == 0.0
    assert mic(np.zeros(400), np.zeros(400)) == 0.0
    assert mic(place, (place > 4) * 1.0) == pytest.approx(1.0)
    one_of_many = np.zeros(400)
    one_of_many[7] = 1.0
    assert mic(one_of_many, rng.random(400)) < 0.1


def sample_of(maps):
    sample = TokenSample(len(maps))
    sample.update(maps, list(range(len(maps))))
    return sample


def test_the_position_score_of_what_holds_the_position():
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(60, 8, 8, 40, generator=rng)
    assert position_mic(sample_of(maps)) < 0.05
    maps[..., 17] = torch.arange(8.0) * 3 + 0.1 * torch.randn(60, 8, 8, generator=rng)
    assert position_mic(sample_of(maps)) == pytest.approx(0.5, abs=0.03)  # all of x, nothing of y
    maps[..., 5] = (torch.arange(8.0)[:, None] - 3.5).square() + 0.1 * torch.randn(60, 8, 8, generator=rng)
    assert position_mic(sample_of(maps)) > 0.9


def test_the_cheap_measure_finds_the_channels():
    rng = torch.Generator().manual_seed(0)
    ramp = torch.arange(8.0)[:, None] * torch.linspace(0, 0.4, 40)[:, None, None]
    maps = torch.randn(60, 8, 8, 40, generator=rng) + ramp.permute(1, 2, 0)
    assert position_mic(sample_of(maps)) == position_mic(sample_of(maps), candidates=40)
