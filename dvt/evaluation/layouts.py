"""Layouts: a task with labels, on images as they are, on random crops, and upside down."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import torch

from dvt.evaluation.config.layout import Layout
from dvt.evaluation.datasets.samples import Sample, Samples
from dvt.evaluation.task import Metric, Scores
from dvt.runtime import seed_for

Fitted = TypeVar("Fitted")

_MEANING: Final = {
    Layout.usual: "",
    Layout.crops: " Trained and tested on random crops, half of them upside down: position says next to nothing.",
    Layout.upside_down: " Trained on upright images, tested upside down: what was learned about position misleads.",
}


def score_layouts(
    layouts: Sequence[Layout],
    train: Sequence[Sample],
    test: Sequence[Sample],
    fit: Callable[["LaidOut"], tuple[Fitted, Sequence[str]]],
    score: Callable[[Fitted, "LaidOut"], Scores],
) -> Scores:
    """The scores of a task in several layouts.

    `upside_down` shares what was fitted for `usual`: its training images are the same.

    Args:
        layouts: in this order.
        train: training images as they are.
        test: test images as they are.
        fit: trains on images in a layout; returns what it learned, and notes.
        score: scores what was learned on test images in a layout.

    Returns:
        The scores of all layouts: names of metrics as by `metric_in`; the layout begins every note and detail.
    """
    return in_layouts(
        layouts,
        lambda layout: fit(LaidOut(train, layout, test=False)),
        lambda fitted, layout: score(fitted, LaidOut(test, layout, test=True)),
    )


def in_layouts(
    layouts: Sequence[Layout],
    fit: Callable[[Layout], tuple[Fitted, Sequence[str]]],
    score: Callable[[Fitted, Layout], Scores],
) -> Scores:
    """As `score_layouts`, for a task that shows its images in a layout itself.

    Args:
        layouts: in this order.
        fit: trains in a layout of training images, usual or crops; returns what it learned, and notes.
        score: scores what was learned in a layout of test images.
    """
    fitted: dict[Layout, Fitted] = {}
    values: dict[str, tuple[float, ...]] = {}
    notes: list[str] = []
    details: dict[str, Any] = {}
    for layout in layouts:
        shown = Layout.crops if layout is Layout.crops else Layout.usual
        if shown not in fitted:
            fitted[shown], said = fit(shown)
            notes += [f"{_words(shown)}, {note}" for note in said]
        scores = score(fitted[shown], layout)
        values |= {_name_in(name, layout): each for name, each in scores.values.items()}
        notes += [f"{_words(layout)}, {note}" for note in scores.notes]
        details |= {f"{_words(layout)}, {name}": each for name, each in scores.details.items()}
    return Scores(values=values, notes=tuple(notes), details=details)


def metrics_in(metrics: Sequence[Metric], layouts: Sequence[Layout]) -> tuple[Metric, ...]:
    """Every metric in every layout; the names end with the layout, except for `usual`."""
    return tuple(
        replace(metric, name=_name_in(metric.name, layout), meaning=metric.meaning + _MEANING[layout])
        for layout in layouts
        for metric in metrics
    )


def metric_and_layout(name: str) -> tuple[str, Layout]:
    """The metric and the layout of a name that `metrics_in` made.

    Examples:
        >>> metric_and_layout("mIoU pixels upside down")
        ('mIoU pixels', <Layout.upside_down: 'upside_down'>)
    """
    for layout in Layout:
        if layout is not Layout.usual and name.endswith(f" {_words(layout)}"):
            return name.removesuffix(f" {_words(layout)}"), layout
    return name, Layout.usual


def _name_in(metric: str, layout: Layout) -> str:
    return metric if layout is Layout.usual else f"{metric} {_words(layout)}"


def _words(layout: Layout) -> str:
    return layout.value.replace("_", " ")


class LaidOut(Samples):
    """Samples in a layout. A crop depends only on the seed and the key of the image."""

    def __init__(self, samples: Sequence[Sample], layout: Layout, *, test: bool, seed: int = 0):
        """Show samples in a layout.

        Args:
            samples: as they are; read on demand.
            layout: how to show them.
            test: whether they are test images.
            seed: of the crops.
        """
        self._samples, self._layout, self._test, self._seed = samples, layout, test, seed

    def with_seed(self, seed: int) -> "LaidOut":
        """The same samples with other crops."""
        return LaidOut(self._samples, self._layout, test=self._test, seed=seed)

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, index: int) -> Sample:
        """Sample number `index` in this layout."""
        sample = self._samples[index]
        match self._layout:
            case Layout.usual:
                return sample
            case Layout.crops:
                return _random_crop(sample, seed_for(self._seed, sample.key))
            case Layout.upside_down:
                return upside_down(sample) if self._test else sample


def upside_down(sample: Sample) -> Sample:
    """The image and its target, bottom row first."""
    return Sample(f"{sample.key} upside down", sample.image.flip(1), sample.target.flip(0))


def _random_crop(sample: Sample, seed: int) -> Sample:
    """A crop of the image's aspect, with a quarter to a half of its area, anywhere; upside down half of the time."""
    rng = torch.Generator().manual_seed(seed)
    area, top, left, flip = torch.rand(4, generator=rng).tolist()
    side = (0.25 + 0.25 * area) ** 0.5
    height, width = sample.target.shape
    rows, columns = max(1, round(side * height)), max(1, round(side * width))
    y, x = round(top * (height - rows)), round(left * (width - columns))
    box = slice(y, y + rows), slice(x, x + columns)
    crop = Sample(f"{sample.key} crop", sample.image[:, box[0], box[1]], sample.target[box])
    return upside_down(crop) if flip < 0.5 else crop
