"""A task in several layouts: what is trained for one layout is tested in all that it serves."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from dvt.evaluation.config.layout import Layout
from dvt.evaluation.datasets.samples import LaidOut, Sample
from dvt.evaluation.datasets.segmentation import SegmentationData

Trained = TypeVar("Trained")


def in_layouts(
    data: SegmentationData, layouts: Sequence[Layout], train: Callable[[Sequence[Sample]], Trained]
) -> Iterator[tuple[Layout, Trained, Sequence[Sample]]]:
    """For every layout: the layout, what was trained for it, and its test pictures.

    Pictures upside down are for testing alone: they share what was trained on upright ones.

    Args:
        data: labelled pictures.
        layouts: in which order.
        train: makes something of training pictures.
    """
    shared: dict[Layout, Trained] = {}
    for layout in layouts:
        shown = Layout.usual if layout is Layout.upside_down else layout
        if shown not in shared:
            shared[shown] = train(LaidOut(data.train, shown, test=False))
        yield layout, shared[shown], LaidOut(data.test, layout, test=True)
