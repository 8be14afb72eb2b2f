"""Errors of a depth map (Eigen et al., 2014)."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from dvt.evaluation.layout import Layout
from dvt.evaluation.layout_metrics import metric_in
from dvt.evaluation.task import Metric

_METRICS: Final = (
    Metric("RMSE", "m", False, "Root of the mean squared error of a picture, averaged over the pictures."),
    Metric("AbsRel", "", False, "Mean of |error| / depth over the pixels of a picture, averaged over the pictures."),
    Metric("delta1", "%", True, "Pixels whose predicted and measured depth differ by a factor below 1.25, likewise."),
    Metric("RMSElog", "", False, "Root of the mean squared error of the natural logarithm of depth, likewise."),
    Metric("log10", "", False, "Mean of the absolute error of the decimal logarithm of depth, likewise."),
)


def metrics_in(layouts: Sequence[Layout]) -> tuple[Metric, ...]:
    """All metrics in all layouts."""
    return tuple(metric_in(metric, layout) for layout in layouts for metric in _METRICS)


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
