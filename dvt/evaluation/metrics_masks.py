"""Metrics of masks: J and F of DAVIS, and the F measure of saliency.

J and F follow the official evaluation of DAVIS 2017 (Perazzi et al. 2016). torchmetrics has neither F.
"""

import math
from typing import Final

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from dvt.evaluation.datasets.masks import Mask

NUM_THRESHOLDS: Final = 255
BETA_SQUARED: Final = 0.3
"""Weight of recall against precision, customary in saliency (Achanta et al. 2009)."""

_TOLERANCE = 0.008
"""Boundaries match within this share of the image diagonal, rounded up to whole pixels."""


def region_similarity(predicted: Mask, true: Mask) -> float:
    """J: intersection over union of two bool masks of one shape; 1 where both are empty."""
    union = int((predicted | true).sum())
    return int((predicted & true).sum()) / union if union else 1.0


def boundary_measure(predicted: Mask, true: Mask) -> float:
    """F: harmonic mean of boundary precision and recall of two (y, x) masks; 1 where neither has a boundary.

    A boundary pixel is right within ceil(0.008 diagonal) pixels of the other boundary (Euclidean distance).
    """
    found, wanted = boundary(predicted), boundary(true)
    if not found.any() or not wanted.any():
        return float(not found.any() and not wanted.any())
    radius = math.ceil(_TOLERANCE * math.hypot(*true.shape))
    precision = float((distance_transform_edt(~wanted) <= radius)[found].mean())
    recall = float((distance_transform_edt(~found) <= radius)[wanted].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: Mask) -> Mask:
    """Pixels that differ from the pixel to the right, below, or both to the right and below.

    The mask is continued beyond the border of the image, so that the border is no boundary.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    found: Mask = (mask ^ right) | (mask ^ below) | (mask ^ diagonal)
    return found


def f_scores(soft: Tensor, truth: Tensor) -> Tensor:
    """The F measure of a soft map at the thresholds i / 255, i = 0 ... 254.

        F = (1 + beta^2) P R / (beta^2 P + R), beta^2 = 0.3,

    with the precision P and the recall R of the pixels above the threshold; 0 where none of them is on the object.

    Args:
        soft: in [0, 1].
        truth: bool, of the same shape, not empty.

    Returns:
        (255,) float64.
    """
    thresholds = torch.arange(NUM_THRESHOLDS, dtype=torch.float64) / NUM_THRESHOLDS
    passed = torch.bucketize(soft.double().flatten(), thresholds)  # how many thresholds a pixel is above
    positive, hits = (
        torch.bincount(each, minlength=NUM_THRESHOLDS + 1).flip(0).cumsum(0).flip(0)[1:].double()
        for each in (passed, passed[truth.flatten()])
    )
    # F with both fractions written out
    return (1 + BETA_SQUARED) * hits / (BETA_SQUARED * truth.sum().double() + positive)
