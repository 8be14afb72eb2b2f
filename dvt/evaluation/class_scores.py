"""What the segmentation tasks share: scores from counts, and patches of whole images counted against their labels."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any, Final

import torch
from torch import Tensor

from dvt.evaluation.config.segmentation import SegmentationConfig
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.datasets.segmentation import SegmentationData
from dvt.evaluation.metrics import Confusion
from dvt.evaluation.patches import features_and_targets, majority_labels, upsample_scores, winners
from dvt.evaluation.task import Scores
from dvt.grid import image_hw
from dvt.methods.method import Method
from dvt.progress import Reporter

Labeller = Callable[[Tensor], Tensor]
"""(B, H, W, C) features to (B, H, W, K) class scores; the largest wins."""

_DEFAULT_IMAGE_SIZE: Final = 224
_MOST_NAMES: Final = 12
"""Classes that a note names; further ones are counted."""


def patch_image_hw(config: SegmentationConfig) -> tuple[int, int]:
    """Image size of tasks on patches.

    Raises:
        ConfigError: `image_size` is neither one number nor two.
    """
    return image_hw(_DEFAULT_IMAGE_SIZE if config.image_size is None else config.image_size)


def score_patches(
    method: Method,
    samples: Sequence[Sample],
    labellers: Sequence[Labeller],
    trained: frozenset[int],
    data: SegmentationData,
    size: tuple[int, int],
    reporter: Reporter,
) -> Scores:
    """Score labellers, one per seed, on test images: mIoU by patch and by pixel. They share the features.

    Args:
        method: makes the features.
        samples: test images.
        labellers: features to class scores.
        trained: the classes in the training labels.
        data: names of the classes.
        size: image size.
        reporter: shows the progress.
    """
    in_patches, in_pixels = ([Confusion(data.num_classes) for _ in labellers] for _ in range(2))
    for features, targets in features_and_targets(method, samples, size, reporter):
        grid = features.grid
        majority = torch.stack([majority_labels(target, grid, data.num_classes) for target in targets])
        for labeller, patches, pixels in zip(labellers, in_patches, in_pixels, strict=True):
            scores = labeller(features.patches)
            patches.add(majority, scores.argmax(dim=-1).cpu())
            for each, target in zip(scores, targets, strict=True):
                pixels.add(target, winners(upsample_scores(each[None], grid, (target.shape[0], target.shape[1]))[0]))
    parts = {"patches": in_patches, "pixels": in_pixels}
    said = [summary(unit, runs, trained, data.class_names) for unit, runs in parts.items()]
    return Scores(
        values={
            "mIoU": tuple(100 * run.mean_iou for run in in_patches),
            "mIoU pixels": tuple(100 * run.mean_iou for run in in_pixels),
        },
        notes=tuple(note for notes, _ in said for note in notes),
        details={unit: details for unit, (_, details) in zip(parts, said, strict=True)},
    )


def summary(
    unit: str, runs: Sequence[Confusion], trained: frozenset[int], class_names: Sequence[str]
) -> tuple[list[str], dict[str, Any]]:
    """Notes on classes that were not tested, or tested without training; and details in percent, per class.

    Args:
        unit: what was counted: patches or pixels.
        runs: the counts, one per seed.
        trained: the classes in the training labels.
        class_names: of all classes.
    """
    occurs = runs[0].occurs.tolist()
    if not any(occurs):
        return [f"{unit}: no test label at all, so there is no value."], {"IoU": {}}
    absent = [name for name, there in zip(class_names, occurs, strict=True) if not there]
    unknown = [class_names[number] for number, there in enumerate(occurs) if there and number not in trained]
    notes = []
    if absent:
        notes.append(f"{unit}: not in the test labels and left out of the means: {_listed(absent)}.")
    if unknown:
        notes.append(f"{unit}: tested, but not in the training labels, so never found: {_listed(unknown)}.")
    iou = {
        name: 100 * fmean(float(run.iou[number]) for run in runs)
        for number, name in enumerate(class_names)
        if occurs[number]
    }
    means = {
        "mIoU": fmean(run.mean_iou for run in runs),
        "mAcc": fmean(run.mean_accuracy for run in runs),
        "aAcc": fmean(run.accuracy for run in runs),
    }
    return notes, {**{name: 100 * value for name, value in means.items() if math.isfinite(value)}, "IoU": iou}


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
