"""Unsupervised saliency: does the mask that was found cover the object?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from dvt.evaluation.discovery.config import SaliencyConfig
from dvt.evaluation.discovery.found import FoundObject
from dvt.evaluation.discovery.saliency_metrics import NUM_THRESHOLDS, accuracy, f_scores, mask_iou
from dvt.evaluation.discovery.scenes import data_protocol, find_scenes
from dvt.evaluation.discovery.search import algorithm_protocol, found_objects
from dvt.evaluation.discovery.summary import by_sequence, notes, percent
from dvt.evaluation.masks import read_mask
from dvt.evaluation.task import Metric, Scores
from dvt.images.read import read_image
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter
from dvt.shapes import ImageTensor

_Truth = tuple[str, Tensor, Tensor]
"""Key, (y, x) bool mask, and (y, x) bool where it can be told; the rest is void."""


class Saliency:
    """One mask a picture by TokenCut or LOST, without any training, compared with the true mask."""

    name: Final = "saliency"
    metrics: Final = (
        Metric(
            "maxF",
            "%",
            True,
            "F measure with beta^2 = 0.3 of the soft map, mean over the pictures at each of 255 thresholds, the largest"
            " of them (Achanta et al. 2009; TokenCut, Wang et al. 2022).",
        ),
        Metric("IoU", "%", True, "Intersection over union of the mask with the true one; mean over the pictures."),
        Metric("accuracy", "%", True, "Share of the pixels that the mask has right; mean over the pictures."),
    )

    def __init__(self, config: SaliencyConfig, data: str | Path):
        """Find the pictures and their masks.

        Args:
            config: all options.
            data: folder of the data set.

        Raises:
            EvaluationError: something is missing, or pictures and masks do not pair.
            ConfigError: a sequence does not exist, or the data set has boxes and no masks.
        """
        self._config = config
        self._format, self._scenes = find_scenes(config, Path(data))

    @property
    def protocol(self) -> dict[str, Any]:
        """How it is measured."""
        return data_protocol(self._config, self._format, self._scenes) | algorithm_protocol(self._config)

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Score a method; nothing is drawn at random, so that every metric has one value.

        Args:
            method: makes the features.
            reporter: shows the progress.

        Raises:
            DvtError: a picture or a mask cannot be read, or features are not finite.
        """
        without_object: list[str] = []
        nothing_found: list[str] = []
        with_void: list[str] = []
        ious: dict[str, float] = {}
        accuracies: list[float] = []
        sum_of_scores = torch.zeros(NUM_THRESHOLDS, dtype=torch.float64)
        pictures = self._pictures(without_object)
        for (key, whole, known), found, _ in found_objects(method, pictures, self._config, reporter, len(self._scenes)):
            mask, soft, truth = (each[known] for each in (*in_pixels(found, (whole.shape[0], whole.shape[1])), whole))
            if not known.all():
                with_void.append(key)
            ious[key] = mask_iou(mask, truth)
            accuracies.append(accuracy(mask, truth))
            sum_of_scores += f_scores(soft, truth)
            if found.is_empty:
                nothing_found.append(key)
        best = [float(sum_of_scores.max() / len(ious))] if ious else []
        return Scores(
            values={"maxF": percent(best), "IoU": percent([*ious.values()]), "accuracy": percent(accuracies)},
            notes=notes(len(ious), without_object, nothing_found, with_void),
            details={"IoU by sequence": by_sequence(ious, self._scenes)},
        )

    def _pictures(self, without_object: list[str]) -> Iterator[tuple[_Truth, ImageTensor]]:
        """Pictures and their true masks, read one by one; those with an empty one are named in `without_object`."""
        for scene in self._scenes:
            picture = read_image(scene.picture)
            assert scene.mask is not None
            mask = read_mask(scene.mask, soft=True)
            mask.check_hw((picture.shape[1], picture.shape[2]), "its picture has")
            if mask.numbers:
                yield (scene.key, torch.from_numpy(mask.any_object), torch.from_numpy(mask.known)), picture
            else:
                without_object.append(scene.key)


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
