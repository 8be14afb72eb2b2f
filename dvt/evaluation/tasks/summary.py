"""From counts to the scores of a task: names of metrics, values, and what a reader has to know."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Final

from dvt.evaluation.config.layout import Layout
from dvt.evaluation.layout_metrics import in_words
from dvt.evaluation.metrics import Confusion
from dvt.evaluation.task import Metric, Scores

_CLASSES = "Mean over the classes that occur in the test labels of"
MIOU: Final = Metric(
    name="mIoU",
    unit="%",
    higher_is_better=True,
    meaning=f"{_CLASSES} TP / (TP + FP + FN), counted in pixels (Everingham et al. 2015, PASCAL VOC).",
)
MACC: Final = Metric(
    name="mAcc",
    unit="%",
    higher_is_better=True,
    meaning=f"{_CLASSES} TP / (TP + FN), counted in pixels (Long et al. 2015, FCN).",
)
AACC: Final = Metric(
    name="aAcc",
    unit="%",
    higher_is_better=True,
    meaning="Share of all labelled pixels whose class is right (Long et al. 2015, FCN).",
)
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
_MOST_NAMES = 12
"""Classes that a note names; further ones it counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The counts of one layout, in patches or in pixels."""

    layout: Layout
    """How the pictures were shown."""
    unit: str
    """What was counted: patches or pixels."""
    confusions: Sequence[Confusion]
    """One per seed, or one."""
    trained: frozenset[int]
    """Classes that occur in the training labels."""


def scores_of(values: dict[str, Sequence[float]], counted: Sequence[Counted], class_names: Sequence[str]) -> Scores:
    """The scores of a task.

    Args:
        values: shares of 1 by name of the metric, one per seed.
        counted: all counts, for notes and details.
        class_names: of all classes.
    """
    return Scores(
        values={name: tuple(100 * value for value in each) for name, each in values.items()},
        notes=tuple(note for each in counted for note in _notes(each, class_names)),
        details={f"{in_words(each.layout)}, {each.unit}": _details(each, class_names) for each in counted},
    )


def _notes(counted: Counted, class_names: Sequence[str]) -> list[str]:
    """Classes that were not tested, or tested without training."""
    occurs = counted.confusions[0].occurs.tolist()
    where = f"{in_words(counted.layout)}, {counted.unit}"
    if not any(occurs):
        return [f"{where}: no test label at all, so there is no value."]
    absent = [name for name, there in zip(class_names, occurs, strict=True) if not there]
    unknown = [class_names[number] for number, there in enumerate(occurs) if there and number not in counted.trained]
    notes = []
    if absent:
        notes.append(f"{where}: not in the test labels and left out of the means: {_listed(absent)}.")
    if unknown:
        notes.append(f"{where}: tested, but not in the training labels, so never found: {_listed(unknown)}.")
    return notes


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _details(counted: Counted, class_names: Sequence[str]) -> dict[str, Any]:
    """Per class, and the other means, in percent, over the seeds; classes that do not occur are left out."""
    runs = counted.confusions
    iou = {
        name: 100 * fmean(float(run.iou[number]) for run in runs)
        for number, name in enumerate(class_names)
        if bool(runs[0].occurs[number])
    }
    means = {
        "mIoU": fmean(run.mean_iou for run in runs),
        "mAcc": fmean(run.mean_accuracy for run in runs),
        "aAcc": fmean(run.accuracy for run in runs),
    }
    return {**{name: 100 * value for name, value in means.items() if math.isfinite(value)}, "IoU": iou}
