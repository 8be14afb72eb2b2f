"""Segmentation by the patches of whole pictures: whatever gives them class scores is counted here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from dvt.backbone.load import image_hw
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.config.segmentation import SegmentationConfig
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.datasets.segmentation import SegmentationData
from dvt.evaluation.layout_metrics import metric_in
from dvt.evaluation.metrics import Confusion
from dvt.evaluation.patches import features_and_targets, majority_labels, upsample_scores, winners
from dvt.evaluation.task import Metric, Scores
from dvt.evaluation.tasks.layouts import in_layouts
from dvt.evaluation.tasks.summary import MIOU_PATCHES, MIOU_PIXELS, Counted, scores_of
from dvt.grid import PatchGrid
from dvt.methods.method import Method
from dvt.progress import Reporter

DEFAULT_IMAGE_SIZE: Final = 224
"""Size that pictures are squashed to where the options say nothing."""

Labeller = Callable[[Tensor], Tensor]
"""(B, H, W, C) features to (B, H, W, K) class scores, the largest of which wins."""


@dataclass(frozen=True, slots=True, eq=False)
class Labellers:
    """What was learnt from some training pictures."""

    each: Sequence[Labeller]
    """One per seed, or one."""
    classes: frozenset[int]
    """Those that it was learnt from."""


class PatchCounts:
    """What a labeller took for what."""

    def __init__(self, num_classes: int):
        """Nothing counted yet.

        Args:
            num_classes: K.
        """
        self.patches = Confusion(num_classes)
        """Against the majority class of every patch."""
        self.pixels = Confusion(num_classes)
        """Class scores upsampled to the size of the labels, against the class of every pixel."""

    def add(self, scores: Tensor, targets: Sequence[Tensor], majority: Tensor, grid: PatchGrid) -> None:
        """Count a batch.

        Args:
            scores: (B, H, W, K) class scores.
            targets: B label maps (y, x), of any sizes.
            majority: (B, H, W) their majority labels on the grid.
            grid: the patches.
        """
        self.patches.add(majority, scores.argmax(dim=-1).cpu())
        for each, target in zip(scores, targets, strict=True):
            height, width = target.shape
            self.pixels.add(target, winners(upsample_scores(each[None], grid, (height, width))[0]))


def squashed_hw(config: SegmentationConfig) -> tuple[int, int]:
    """Height and width that pictures are squashed to.

    Raises:
        ConfigError: `image_size` is neither one number nor two.
    """
    return image_hw(DEFAULT_IMAGE_SIZE if config.image_size is None else config.image_size)


def patch_metrics(layouts: Sequence[Layout]) -> tuple[Metric, ...]:
    """The mIoU by the patch and by the pixel, in every layout."""
    return tuple(metric_in(metric, layout) for layout in layouts for metric in (MIOU_PATCHES, MIOU_PIXELS))


def patch_protocol(data: SegmentationData, config: SegmentationConfig, **more: Any) -> dict[str, Any]:
    """What tasks on patches have in common, and more."""
    shown = {"image_size": list(squashed_hw(config)), "layouts": [layout.value for layout in config.layouts]}
    return {**data.about, **shown, **more}


def score_patches(
    method: Method,
    data: SegmentationData,
    config: SegmentationConfig,
    train: Callable[[Sequence[Sample]], Labellers],
    reporter: Reporter,
) -> Scores:
    """Train in every layout, test, and put it together.

    Args:
        method: makes the features.
        data: labelled pictures.
        config: layouts and image size.
        train: makes labellers of training pictures.
        reporter: shows the progress.
    """
    size = squashed_hw(config)
    values: dict[str, Sequence[float]] = {}
    counted: list[Counted] = []
    for layout, labellers, test in in_layouts(data, config.layouts, train):
        counts = count_patches(method, test, labellers.each, size, data.num_classes, reporter)
        by_unit = {"patches": [each.patches for each in counts], "pixels": [each.pixels for each in counts]}
        for metric, (unit, runs) in zip((MIOU_PATCHES, MIOU_PIXELS), by_unit.items(), strict=True):
            values[metric_in(metric, layout).name] = [run.mean_iou for run in runs]
            counted.append(Counted(layout=layout, unit=unit, confusions=runs, trained=labellers.classes))
    return scores_of(values, counted, data.class_names)


def count_patches(
    method: Method,
    samples: Sequence[Sample],
    labellers: Sequence[Labeller],
    size: tuple[int, int],
    num_classes: int,
    reporter: Reporter,
) -> list[PatchCounts]:
    """What each of some labellers takes for what; features are made once for all of them, and none is kept.

    Args:
        method: makes the features.
        samples: test pictures.
        labellers: features to class scores.
        size: height and width that pictures are squashed to.
        num_classes: K.
        reporter: shows the progress.
    """
    counts = [PatchCounts(num_classes) for _ in labellers]
    for features, targets in features_and_targets(method, samples, size, reporter):
        majority = torch.stack([majority_labels(target, features.grid, num_classes) for target in targets])
        for labeller, each in zip(labellers, counts, strict=True):
            each.add(labeller(features.patches), targets, majority, features.grid)
    return counts
