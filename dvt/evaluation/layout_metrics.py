"""A metric in each layout: what it is called there, and what that means."""

from dataclasses import replace
from typing import Final

from dvt.evaluation.config.layout import Layout
from dvt.evaluation.task import Metric

_LAID_OUT: Final = {
    Layout.usual: "",
    Layout.crops: " Trained and tested on random crops, half of them upside down: position says next to nothing.",
    Layout.upside_down: " Trained on upright pictures, tested upside down: what was learnt about position misleads.",
}


def metric_in(metric: Metric, layout: Layout) -> Metric:
    """A metric measured in a layout: its name has the layout as its end, unless that is the usual one."""
    return replace(metric, name=name_in(metric.name, layout), meaning=metric.meaning + _LAID_OUT[layout])


def name_in(metric: str, layout: Layout) -> str:
    """What a metric is called in a layout: its plain name in the usual one."""
    return metric if layout is Layout.usual else f"{metric} {in_words(layout)}"


def in_words(layout: Layout) -> str:
    """A layout as it stands in a sentence."""
    return layout.value.replace("_", " ")
