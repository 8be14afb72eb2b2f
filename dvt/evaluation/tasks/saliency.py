"""Unsupervised saliency: does the mask that was found cover the object?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from dvt.evaluation.config.objects import SaliencyConfig
from dvt.evaluation.datasets.scenes import Scene, few, read_scene_mask
from dvt.evaluation.metrics_masks import NUM_THRESHOLDS, f_scores, region_similarity
from dvt.evaluation.one_object import OneObjectTask, counted, percent
from dvt.evaluation.probes.lost_tokencut import FoundObject
from dvt.evaluation.task import Metric, Scores
from dvt.grid import PatchGrid

_Truth = tuple[Tensor, Tensor]
"""(y, x) bool: pixels of an object, and pixels that are not void."""


@dataclass(frozen=True, slots=True, eq=False)
class _ImageScores:
    iou: float
    accuracy: float
    f: Tensor
    """(255,)"""
    has_void: bool


class Saliency(OneObjectTask[SaliencyConfig, _Truth, _ImageScores]):
    """One mask per image by TokenCut or LOST, without training, compared with the true mask."""

    name: Final = "saliency"
    metrics: Final = (
        Metric(
            "maxF",
            "%",
            True,
            "F measure with beta^2 = 0.3 of the soft map, mean over the images at each of 255 thresholds, the largest"
            " of them (Achanta et al. 2009; TokenCut, Wang et al. 2022).",
        ),
        Metric("IoU", "%", True, "Intersection over union of the mask with the true one; mean over the images."),
        Metric("accuracy", "%", True, "Share of the pixels that the mask has right; mean over the images."),
    )

    def _truth(self, scene: Scene, hw: tuple[int, int]) -> _Truth | None:
        mask = read_scene_mask(scene, hw)
        return (torch.from_numpy(mask.any_object), torch.from_numpy(mask.known)) if mask.numbers else None

    def _measure(self, found: FoundObject, grid: PatchGrid, truth: _Truth) -> _ImageScores:
        whole, known = truth
        mask, soft, true = (each[known] for each in (*in_pixels(found, (whole.shape[0], whole.shape[1])), whole))
        return _ImageScores(
            iou=region_similarity(mask.numpy(), true.numpy()),
            accuracy=float((mask == true).double().mean()),
            f=f_scores(soft, true),
            has_void=not bool(known.all()),
        )

    def _scores(self, measured: Mapping[str, _ImageScores], notes: list[str]) -> Scores:
        with_void = [key for key, each in measured.items() if each.has_void]
        if with_void:
            notes.append(f"{counted(with_void)} with void pixels, which are not counted: {few(with_void, 5)}")
        f = sum((each.f for each in measured.values()), torch.zeros(NUM_THRESHOLDS, dtype=torch.float64))
        ious = {key: each.iou for key, each in measured.items()}
        return Scores(
            values={
                "maxF": percent([float(f.max() / len(measured))] if measured else []),
                "IoU": percent([*ious.values()]),
                "accuracy": percent([each.accuracy for each in measured.values()]),
            },
            notes=tuple(notes),
            details={"IoU by sequence": self._by_sequence(ious)},
        )


def in_pixels(found: FoundObject, hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(y, x) bool mask and (y, x) soft map of an object, interpolated between the patches (bilinear).

    A pixel belongs to the mask where the interpolated patch mask is at least one half.

    Args:
        found: on the patch grid.
        hw: height and width in pixels.
    """
    maps = torch.stack([found.mask.float(), found.soft])[None]
    mask, soft = functional.interpolate(maps, hw, mode="bilinear", align_corners=False)[0]
    return mask >= 0.5, soft.clamp(0, 1)
