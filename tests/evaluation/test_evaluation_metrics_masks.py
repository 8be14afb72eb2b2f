"""J, F and the F measure of saliency: by hand, against loops over pixels, scikit-image and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.morphology import dilation, disk
from sklearn.metrics import fbeta_score, jaccard_score

from dvt.evaluation.metrics_masks import boundary, boundary_measure, f_scores, region_similarity


def square(top, left, side=20, hw=(100, 200)):
    mask = np.zeros(hw, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def reference_boundary(mask):
    """DAVIS: differs from the pixel to the right, below or diagonally below; compared along the edge alone there."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            right, below = x + 1 < width, y + 1 < height
            others = [mask[y, x + 1]] if right else []
            others += [mask[y + 1, x]] if below else []
            others += [mask[y + 1, x + 1]] if right and below else []
            found[y, x] = any(other != mask[y, x] for other in others)
    return found


def reference_f(predicted, true):
    """Dilation by a disk of ceil(0.008 diagonal), precision and recall of the boundaries."""
    radius = math.ceil(0.008 * math.sqrt(true.shape[0] ** 2 + true.shape[1] ** 2))
    found, wanted = reference_boundary(predicted), reference_boundary(true)
    if not found.any() and not wanted.any():
        return 1.0
    precision = (found & dilation(wanted, disk(radius))).sum() / max(1, found.sum())
    recall = (wanted & dilation(found, disk(radius))).sum() / max(1, wanted.sum())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_identical_masks_fit_wholly():
    for mask in (square(10, 10), square(0, 0), np.ones((10, 10), bool)):
        assert region_similarity(mask, mask) == 1 and boundary_measure(mask, mask) == 1


def test_masks_that_do_not_touch_do_not_fit_at_all():
    one, other = square(0, 0), square(60, 120)
    assert region_similarity(one, other) == 0 and boundary_measure(one, other) == 0


def test_empty_masks():
    empty, mask = np.zeros((100, 200), bool), square(10, 10)
    assert region_similarity(empty, empty) == 1 and boundary_measure(empty, empty) == 1
    for one, other in ((empty, mask), (mask, empty)):
        assert region_similarity(one, other) == 0 and boundary_measure(one, other) == 0


def test_the_region_by_hand():
    """Two squares of 20 px, 10 px apart: they share 200 of 600 px."""
    assert region_similarity(square(10, 10), square(10, 20)) == pytest.approx(1 / 3, abs=1e-12)


def test_a_shift_within_the_tolerance_costs_the_boundary_nothing():
    """100 x 200 px: the diagonal is 223.6 px, the tolerance 2 px."""
    assert boundary_measure(square(10, 12), square(10, 10)) == 1
    assert boundary_measure(square(11, 11), square(10, 10)) == 1
    assert boundary_measure(square(12, 12), square(10, 10)) < 1  # 2.8 px at the corners


def test_a_shift_beyond_the_tolerance_by_hand():
    """Boundaries of squares of 4 px, 4 px apart, tolerance 1 px, counted by hand.

    The boundary of a square is 9 px on the lines above and to the left of it and 7 px inside its last row and column,
    16 px in all: rows y - 1 to y + 3 of columns x - 1 and x + 3, and columns between of rows y - 1 and y + 3. Of the
    shifted square, column x + 3 (5 px) lies on the other's last column, and of the two rows one pixel each (column
    x + 4) lies next to it: 7 of 16, both ways.
    """
    one, other = square(10, 10, 4, (40, 40)), square(10, 14, 4, (40, 40))
    assert boundary(one).sum() == 16
    assert boundary_measure(one, other) == pytest.approx(7 / 16, abs=1e-12)


def test_precision_and_recall_are_balanced():
    """One of two equal objects found: precision 1, recall 1/2, F 2/3."""
    both = square(10, 10) | square(10, 100)
    assert boundary_measure(square(10, 10), both) == pytest.approx(2 / 3, abs=1e-12)
    assert boundary_measure(both, square(10, 10)) == pytest.approx(2 / 3, abs=1e-12)


def test_the_tolerance_is_rounded_up():
    """480 x 854 px: 0.008 x 979.7 = 7.8, so 8 px are near and 9 px are not."""
    hw = (480, 854)
    one, near, far = (square(100, left, 100, hw) for left in (100, 108, 109))
    assert boundary_measure(near, one) == 1 and boundary_measure(far, one) < 1
    small = (60, 80)  # 0.8 px: 1 px
    assert boundary_measure(square(10, 11, 9, small), square(10, 10, 9, small)) == 1


masks = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).random((14, 17)) > np.random.default_rng(seed + 1).random()
)


@settings(deadline=None, max_examples=40)
@given(masks, masks)
def test_any_masks_score_as_by_definition(one, other):
    assert np.array_equal(boundary(one), reference_boundary(one))
    assert boundary_measure(one, other) == pytest.approx(reference_f(one, other), abs=1e-9)
    union = sum(bool(a or b) for a, b in zip(one.flat, other.flat, strict=True))
    both = sum(bool(a and b) for a, b in zip(one.flat, other.flat, strict=True))
    assert region_similarity(one, other) == pytest.approx(both / union if union else 1)


def random_masks(number):
    generator = torch.Generator().manual_seed(number)
    soft, truth = torch.rand(13, 17, generator=generator), torch.rand(13, 17, generator=generator) > 0.7
    return (soft + 0.5 * truth) / 1.5, truth


@pytest.mark.parametrize("number", range(3))
def test_metrics_agree_with_scikit_learn(number):
    soft, truth = random_masks(number)
    scores = f_scores(soft, truth)
    assert scores.shape == (255,)
    for index in (0, 1, 60, 128, 200, 254):
        expected = fbeta_score(
            truth.flatten(), soft.flatten() > np.float64(index) / 255, beta=math.sqrt(0.3), zero_division=0.0
        )
        assert float(scores[index]) == pytest.approx(expected, abs=1e-6)
    mask = soft > 0.5
    expected = jaccard_score(truth.flatten(), mask.flatten())
    assert region_similarity(mask.numpy(), truth.numpy()) == pytest.approx(expected, abs=1e-6)


def test_f_by_hand():
    """Above 0.5: two pixels, one of the two of the object. P = R = 1/2, so that F = 1/2 for any beta."""
    soft = torch.tensor([[0.9, 0.8, 0.2, 0.0]])
    truth = torch.tensor([[True, False, True, False]])
    scores = f_scores(soft, truth)
    assert float(scores[128]) == pytest.approx(0.5)
    assert float(scores[0]) == pytest.approx(1.3 * (2 / 3) / (0.3 * (2 / 3) + 1))  # P = 2/3, R = 1
    assert float(scores[240]) == 0
    assert float(f_scores(truth.float(), truth).min()) == 1


def test_f_is_exact_to_the_last_digits_of_float64():
    """In float32 1.3 * 2 / (0.3 * 3 + 4) is off by 2e-8."""
    soft, truth = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.0]]), torch.tensor([[True, True, False, False, True]])
    scores = f_scores(soft, truth)
    assert scores.dtype == torch.float64
    assert float(scores[100]) == pytest.approx(1.3 * 2 / (0.3 * 3 + 4), rel=1e-14)


def test_a_value_equal_to_a_threshold_is_not_above_it():
    scores = f_scores(torch.tensor([[51 / 255, 0.0]], dtype=torch.float64), torch.tensor([[True, False]]))
    assert scores[50] == 1 and scores[51] == 0
