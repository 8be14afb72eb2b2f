"""Metrics: mIoU, mAcc and aAcc from counts of classes; the errors of depth maps."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from dvt.evaluation.config.layout import Layout
from dvt.evaluation.layout_metrics import metric_in
from dvt.evaluation.task import Metric


class Confusion:
    """Counts of (true class, predicted class), added up over pictures.

    A class that never occurs in the truth has no IoU and no accuracy (NaN) and is left out of the means, as in
    scikit-learn with `labels=` the classes that occur. Where it is predicted, that counts against the true class.
    """

    def __init__(self, num_classes: int):
        """Nothing counted yet.

        Args:
            num_classes: K.
        """
        self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    def add(self, truth: Tensor, predicted: Tensor) -> None:
        """Count.

        Args:
            truth: integers, any shape, -1 where there is none: left out.
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
    Metric("RMSE", "m", False, "Root of the mean squared error of a picture, averaged over the pictures."),
    Metric("AbsRel", "", False, "Mean of |error| / depth over the pixels of a picture, averaged over the pictures."),
    Metric("delta1", "%", True, "Pixels whose predicted and measured depth differ by a factor below 1.25, likewise."),
    Metric("RMSElog", "", False, "Root of the mean squared error of the natural logarithm of depth, likewise."),
    Metric("log10", "", False, "Mean of the absolute error of the decimal logarithm of depth, likewise."),
)


def metrics_in(layouts: Sequence[Layout]) -> tuple[Metric, ...]:
    """All metrics in all layouts."""
    return tuple(metric_in(metric, layout) for layout in layouts for metric in DEPTH_METRICS)


def depth_errors(predicted: Tensor, target: Tensor) -> dict[str, float]:
    """The errors of one picture.

    Args:
        predicted: (N,) depths in metres of the pixels whose depth is known, above 0.
        target: (N,) measured depths in metres, above 0; N >= 1.

    Returns:
        A value for each metric, by its plain name.
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
