"""Errors of a depth map (Eigen et al., 2014)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from dvt.evaluation.layout import Layout
from dvt.evaluation.task import Metric

_METRICS: Final = (
    Metric("RMSE", "m", False, "Root of the mean squared error of a picture, averaged over the pictures."),
    Metric("AbsRel", "", False, "Mean of |error| / depth over the pixels of a picture, averaged over the pictures."),
    Metric("delta1", "%", True, "Pixels whose predicted and measured depth differ by a factor below 1.25, likewise."),
    Metric("RMSElog", "", False, "Root of the mean squared error of the natural logarithm of depth, likewise."),
    Metric("log10", "", False, "Mean of the absolute error of the decimal logarithm of depth, likewise."),
)
_LAID_OUT: Final = {
    Layout.usual: "",
    Layout.crops: " Trained and tested on random crops, half of them upside down: position says next to nothing.",
    Layout.upside_down: " Trained on upright pictures, tested upside down: what was learnt about position misleads.",
}


def metrics_in(layouts: Sequence[Layout]) -> tuple[Metric, ...]:
    """All metrics in all layouts."""
    return tuple(
        replace(metric, name=name_in(metric.name, layout), meaning=metric.meaning + _LAID_OUT[layout])
        for layout in layouts
        for metric in _METRICS
    )


def name_in(metric: str, layout: Layout) -> str:
    """What a metric is called in a layout: its plain name in the usual one."""
    return metric if layout is Layout.usual else f"{metric} {words(layout)}"


def words(layout: Layout) -> str:
    """A layout as it stands in a sentence."""
    return layout.value.replace("_", " ")


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
