"""J and F: how well a mask fits another, in its area and along its boundary (Perazzi et al., 2016, DAVIS).

The conventions are those of the official evaluation of DAVIS 2017.
"""

import math

import numpy as np
from scipy.ndimage import distance_transform_edt

from dvt.evaluation.masks import Mask

_TOLERANCE = 0.008
"""Boundaries match within this share of the diagonal of the picture, rounded up to whole pixels."""


def region_similarity(predicted: Mask, true: Mask) -> float:
    """J: intersection over union; 1 where both masks are empty.

    Args:
        predicted: (y, x) bool.
        true: (y, x) bool.
    """
    union = int((predicted | true).sum())
    return int((predicted & true).sum()) / union if union else 1.0


def boundary_measure(predicted: Mask, true: Mask) -> float:
    """F: harmonic mean of the shares of both boundaries that lie near the other; 1 where neither mask has one.

    Near is within ceil(0.008 diagonal) pixels, Euclidean: a dilation by a disk of that radius.

    Args:
        predicted: (y, x) bool.
        true: (y, x) bool.
    """
    found, wanted = boundary(predicted), boundary(true)
    if not found.any() or not wanted.any():
        return float(not found.any() and not wanted.any())
    radius = math.ceil(_TOLERANCE * math.hypot(*true.shape))
    precision = float(_near(wanted, radius)[found].mean())
    recall = float(_near(found, radius)[wanted].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: Mask) -> Mask:
    """Pixels that differ from that to the right, below, or both to the right and below.

    Beyond the edge of the picture the mask goes on as it is: an edge is no boundary.
    """
    going_on = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = going_on[:-1, 1:], going_on[1:, :-1], going_on[1:, 1:]
    found: Mask = (mask ^ right) | (mask ^ below) | (mask ^ diagonal)
    return found


def _near(where: Mask, radius: int) -> Mask:
    """Pixels with a true one at most so far away."""
    near: Mask = np.asarray(distance_transform_edt(~where)) <= radius
    return near
