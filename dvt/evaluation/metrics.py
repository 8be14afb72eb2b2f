"""Metrics: mIoU, mAcc and aAcc from a confusion matrix; the errors of depth maps."""

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from dvt.evaluation.task import Metric

_CLASSES: Final = "Mean over the classes that occur in the test labels of"
MIOU: Final = Metric(
    "mIoU", "%", True, f"{_CLASSES} TP / (TP + FP + FN), counted in pixels (Everingham et al. 2015, PASCAL VOC)."
)
MACC: Final = Metric("mAcc", "%", True, f"{_CLASSES} TP / (TP + FN), counted in pixels (Long et al. 2015, FCN).")
AACC: Final = Metric("aAcc", "%", True, "Share of all labelled pixels whose class is right (Long et al. 2015, FCN).")
MIOU_PATCHES: Final = replace(
    MIOU,
    meaning=f"{_CLASSES} TP / (TP + FP + FN), counted in patches under their majority class (PASCAL VOC's formula).",
)
MIOU_PIXELS: Final = replace(
    MIOU,
    name="mIoU pixels",
    meaning=f"{_CLASSES} TP / (TP + FP + FN), counted in pixels of the labels' own size, class scores of patches"
    " upsampled bilinearly (PASCAL VOC's formula).",
)


class Confusion:
    """Counts of (true class, predicted class), summed over images.

    A class that never occurs in the truth has no IoU and no accuracy (NaN) and is left out of the means, as in
    scikit-learn with `labels=` the classes that occur. Predicting it counts against the true class.

    Examples:
        >>> confusion = Confusion(3)
        >>> confusion.add(torch.tensor([0, 0, 1, -1]), torch.tensor([0, 1, 1, 0]))
        >>> confusion.iou
        tensor([0.5000, 0.5000,    nan], dtype=torch.float64)
        >>> confusion.mean_iou
        0.5
    """

    def __init__(self, num_classes: int):
        """Start with zero counts of `num_classes` classes."""
        self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    def add(self, truth: Tensor, predicted: Tensor) -> None:
        """Count.

        Args:
            truth: integer classes, any shape; -1 is not counted.
            predicted: integers 0 to K - 1, of the same shape and device.
        """
        assert truth.shape == predicted.shape, (truth.shape, predicted.shape)
        num_classes = len(self.matrix)
        known = truth >= 0
        pairs = truth[known] * num_classes + predicted[known]
        assert not len(pairs) or int(pairs.max()) < num_classes**2
        self.matrix += torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes).cpu()

    @property
    def occurs(self) -> Tensor:
        """(K,) whether a class occurs in the truth."""
        return self.matrix.sum(dim=1) > 0

    @property
    def iou(self) -> Tensor:
        """(K,) float64: TP / (TP + FP + FN) of every class; NaN where it does not occur."""
        counts = self.matrix.double()
        hits = counts.diagonal()
        union = counts.sum(dim=0) + counts.sum(dim=1) - hits
        return torch.where(self.occurs, hits / union, torch.nan)

    @property
    def class_accuracy(self) -> Tensor:
        """(K,) float64: TP / (TP + FN) of every class; NaN where it does not occur."""
        counts = self.matrix.double()
        return counts.diagonal() / counts.sum(dim=1)

    @property
    def mean_iou(self) -> float:
        """mIoU: mean of `iou` over the classes that occur; NaN where none does."""
        return float(self.iou.nanmean())

    @property
    def mean_accuracy(self) -> float:
        """mAcc: mean of `class_accuracy` over the classes that occur; NaN where none does."""
        return float(self.class_accuracy.nanmean())

    @property
    def accuracy(self) -> float:
        """aAcc: share of all labelled elements that are right; NaN where there are none."""
        return float(self.matrix.diagonal().sum().double() / self.matrix.sum())


DEPTH_METRICS: Final = (
    Metric("RMSE", "m", False, "Root of the mean squared error of an image, averaged over images (Eigen et al. 2014)."),
    Metric("AbsRel", "", False, "Mean of |error| / depth over the pixels of an image, averaged over images."),
    Metric("delta1", "%", True, "Pixels whose predicted and measured depth differ by a factor below 1.25, likewise."),
    Metric("RMSElog", "", False, "Root of the mean squared error of the natural logarithm of depth, likewise."),
    Metric("log10", "", False, "Mean of the absolute error of the decimal logarithm of depth, likewise."),
)


def depth_errors(predicted: Tensor, target: Tensor) -> dict[str, float]:
    """The `DEPTH_METRICS` of one image, by name.

    Args:
        predicted: (N,) depths in metres of the pixels with known depth, above 0.
        target: (N,) measured depths in metres, above 0; N >= 1.
    """
    predicted, target = predicted.double(), target.double()
    error, log_error = predicted - target, predicted.log() - target.log()
    factor = torch.maximum(predicted / target, target / predicted)
    values = {
        "RMSE": error.square().mean().sqrt(),
        "AbsRel": (error.abs() / target).mean(),
        "delta1": 100 * (factor < 1.25).double().mean(),
        "RMSElog": log_error.square().mean().sqrt(),
        "log10": (predicted.log10() - target.log10()).abs().mean(),
    }
    return {name: float(value) for name, value in values.items()}
