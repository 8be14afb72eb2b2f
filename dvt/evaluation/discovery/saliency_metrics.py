"""Metrics of masks, for one picture each, in float64. Shapes are (y, x), or (n,) of those pixels that count."""

from typing import Final

import torch
from torch import Tensor

NUM_THRESHOLDS: Final = 255
BETA_SQUARED: Final = 0.3
"""Weight of recall against precision, customary in saliency (Achanta et al. 2009)."""


def mask_iou(mask: Tensor, truth: Tensor) -> float:
    """Intersection over union of two bool masks, in [0, 1]; `truth` is not empty."""
    return float((mask & truth).sum().double() / (mask | truth).sum())


def accuracy(mask: Tensor, truth: Tensor) -> float:
    """Share of the pixels of two bool masks that agree."""
    return float((mask == truth).double().mean())


def f_scores(soft: Tensor, truth: Tensor) -> Tensor:
    """The F measure of a soft map at 255 thresholds.

        F = (1 + beta^2) P R / (beta^2 P + R), beta^2 = 0.3,

    with the precision P and the recall R of the pixels above i / 255, i = 0 ... 254; 0 where no pixel of the object is
    above the threshold.

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
    # (1 + beta^2) P R / (beta^2 P + R), both fractions written out
    return (1 + BETA_SQUARED) * hits / (BETA_SQUARED * truth.sum().double() + positive)
