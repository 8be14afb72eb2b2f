"""Unsupervised object discovery: is the box that was found on an object?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from dvt.errors import EvaluationError
from dvt.evaluation.boxes import Box, best_iou, box_of_mask, box_of_patches, central_box
from dvt.evaluation.config.objects import DataFormat, ObjectDiscoveryConfig
from dvt.evaluation.datasets.scenes import Scene, read_scene_mask
from dvt.evaluation.one_object import OneObjectTask, percent
from dvt.evaluation.probes.lost_tokencut import FoundObject
from dvt.evaluation.task import Metric, Scores
from dvt.grid import PatchGrid

_HIT: Final = 0.5

_Truth = tuple[tuple[Box, ...], tuple[int, int]]
"""True boxes; height and width of the image."""
_Ious = tuple[float, float]
"""Best IoU of the box that was found, and of the box in the middle of the image."""


class ObjectDiscovery(OneObjectTask[ObjectDiscoveryConfig, _Truth, _Ious]):
    """One box per image by LOST or TokenCut, without training, compared with the true boxes."""

    name: Final = "object_discovery"
    metrics: Final = (
        Metric(
            "CorLoc",
            "%",
            True,
            "Share of the images whose box has an IoU of at least 0.5 with any true box (Deselaers et al. 2010, as in"
            " LOST, Siméoni et al. 2021).",
        ),
        Metric("box IoU", "%", True, "IoU of the box with the true box that it fits best; mean over the images."),
    )

    def __init__(self, config: ObjectDiscoveryConfig, data: str | Path):
        """Find the images and their boxes; refuse data without any box."""
        super().__init__(config, data)
        if all(scene.boxes == () for scene in self._scenes):
            but = "" if config.difficult else " except difficult ones, which difficult=false leaves out"
            raise EvaluationError(f"data={data}: none of the {len(self._scenes)} images has a box{but}.")

    @property
    def protocol(self) -> dict[str, Any]:
        """How it is measured."""
        if self._format is not DataFormat.voc:
            return super().protocol
        return super().protocol | {"split": self._config.split, "difficult boxes": self._config.difficult}

    def _truth(self, scene: Scene, hw: tuple[int, int]) -> _Truth | None:
        """The boxes; of a mask, one for every object in it."""
        boxes = scene.boxes
        if boxes is None:
            mask = read_scene_mask(scene, hw)
            found = (box_of_mask(torch.from_numpy(mask.values == number)) for number in mask.numbers)
            boxes = tuple(box for box in found if box is not None)
        return (boxes, hw) if boxes else None

    def _measure(self, found: FoundObject, grid: PatchGrid, truth: _Truth) -> _Ious:
        boxes, hw = truth
        return best_iou(box_of_patches(found.mask, grid, hw), boxes), best_iou(central_box(hw), boxes)

    def _scores(self, measured: Mapping[str, _Ious], notes: list[str]) -> Scores:
        hits = {key: float(iou >= _HIT) for key, (iou, _) in measured.items()}
        if measured:
            (baseline,) = percent([float(iou >= _HIT) for _, iou in measured.values()])
            notes.append(
                f"for comparison: the same box in the middle of every image, half its area, has CorLoc {baseline:.1f}"
            )
        return Scores(
            values={"CorLoc": percent([*hits.values()]), "box IoU": percent([iou for iou, _ in measured.values()])},
            notes=tuple(notes),
            details={"CorLoc by sequence": self._by_sequence(hits)},
        )
