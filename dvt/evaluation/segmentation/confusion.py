"""Confusion: which class was taken for which, and what follows from it: mIoU, mAcc, aAcc."""

import torch
from torch import Tensor


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
