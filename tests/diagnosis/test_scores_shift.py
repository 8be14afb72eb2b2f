"""Tokens on the same content, seen from two windows."""

import math

import pytest
import torch

from dvt.diagnosis.shift import ShiftError

SHIFTS = [(2, 2), (2, -2), (-1, 3), (3, 0)]
HW = (7, 8)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def windows(count, shift, rng, channels=5):
    """Pairs of windows of random canvases, by explicit loops."""
    down, right = shift
    canvas = torch.randn(count, HW[0] + abs(down), HW[1] + abs(right), channels, generator=rng)
    top, left = max(0, -down), max(0, -right)
    first = canvas[:, top : top + HW[0], left : left + HW[1]]
    second = canvas[:, top + down : top + down + HW[0], left + right : left + right + HW[1]]
    return first.clone(), second.clone()


def error_of(first, second, shift, batch=4):
    error = ShiftError()
    for numbers in torch.arange(len(first)).split(batch):
        error.update(first[numbers], second[numbers], shift, numbers.tolist())
    return error


@pytest.mark.parametrize("shift", SHIFTS)
def test_what_moves_with_the_image_has_no_error(rng, shift):
    error = error_of(*windows(10, shift, rng), shift)
    assert error.value == 0 and error.cosine == pytest.approx(0, abs=1e-6) and math.isnan(error.locked)


@pytest.mark.parametrize("shift", SHIFTS)
def test_what_stays_on_the_grid_is_all_error_and_locked(rng, shift):
    fixed = torch.randn(*HW, 5, generator=rng).expand(12, -1, -1, -1)
    error = error_of(fixed, fixed, shift)
    assert error.value == pytest.approx(1.0, abs=0.25) and error.locked == pytest.approx(1.0)
    assert error.cosine == pytest.approx(1.0, abs=0.25)


def test_what_depends_on_the_window_is_error_and_not_locked(rng):
    first, second = torch.randn(2, 20, *HW, 5, generator=rng)
    error = error_of(first, second, (2, 3))
    assert error.value == pytest.approx(1.0, abs=0.06) and error.locked == pytest.approx(0.0, abs=0.04)


def test_a_mixture(rng):
    """Content of variance 3 and a pattern of variance 1: the error is 2 of 2 x 4, all of it locked."""
    first, second = windows(300, (2, 3), rng, channels=16)
    fixed = torch.randn(*HW, 16, generator=rng)
    error = error_of(first * 3**0.5 + fixed, second * 3**0.5 + fixed, (2, 3))
    assert error.value == pytest.approx(0.25, abs=0.03) and error.locked == pytest.approx(1.0, abs=0.01)


def test_layout_is_no_error(rng):
    """Sky above, ground below: a photographer's layout is content, it moves with the window."""
    first, second = windows(30, (2, 2), rng)
    sky = torch.linspace(-3, 3, HW[0] + 2)[:, None, None]
    assert error_of(first + sky[: HW[0]], second + sky[2:], (2, 2)).value == pytest.approx(0, abs=1e-12)


def test_where_the_error_is(rng):
    first, second = windows(40, (2, 2), rng)
    second[:, 0, 0] += 20.0
    found = error_of(first, second, (2, 2)).map
    assert found.shape == HW and found.isnan()[0, -1] and found.isnan()[-1, 0]  # seen by no pair
    # both tokens of a pair carry its error: the one in the corner, and the one two patches further in
    assert found[0, 0] == found[~found.isnan()].max() and found[2, 2] > 0.4 * found[0, 0] and found[4, 4] == 0


def test_batches_and_both_directions(rng):
    one, other = windows(9, (2, 2), rng), windows(9, (2, -2), rng)
    one[1].add_(0.1 * torch.randn(one[1].shape, generator=rng)), other[0].add_(1.0)
    whole, parts = ShiftError(), ShiftError()
    for (first, second), shift in ((one, (2, 2)), (other, (2, -2))):
        whole.update(first, second, shift, list(range(9)))
        for number in range(9):
            parts.update(first[number : number + 1], second[number : number + 1], shift, [number])
    assert parts.value == pytest.approx(whole.value) and parts.locked == pytest.approx(whole.locked)
    assert parts.cosine == pytest.approx(whole.cosine)
    torch.testing.assert_close(parts.map, whole.map)
    assert not whole.map.isnan().any()


def test_features_that_never_vary_have_no_value():
    error = error_of(torch.ones(4, *HW, 3), torch.ones(4, *HW, 3), (1, 1))
    assert math.isnan(error.value) and math.isnan(error.locked) and error.map.isnan().all()


def test_one_half_alone_says_nothing_of_what_is_locked(rng):
    first, second = torch.randn(2, 3, *HW, 5, generator=rng)
    error = ShiftError()
    error.update(first, second, (1, 1), [0, 2, 4])
    assert math.isnan(error.locked) and error.value > 0
