"""Unsupervised object discovery: does the box that was found lie on an object?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch

from dvt.errors import EvaluationError
from dvt.evaluation.discovery.boxes import Box, best_iou, box_of_mask, box_of_patches, central_box
from dvt.evaluation.discovery.config import DataFormat, ObjectDiscoveryConfig
from dvt.evaluation.discovery.scenes import Scene, data_protocol, find_scenes
from dvt.evaluation.discovery.search import algorithm_protocol, found_objects
from dvt.evaluation.discovery.summary import by_sequence, notes, percent
from dvt.evaluation.masks import read_mask
from dvt.evaluation.task import Metric, Scores
from dvt.images.read import read_image
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter
from dvt.shapes import ImageTensor

_HIT: Final = 0.5
_Truth = tuple[str, tuple[Box, ...], tuple[int, int]]
"""Key, true boxes, height and width of the picture."""


class ObjectDiscovery:
    """One box a picture by LOST or TokenCut, without any training, compared with the true boxes."""

    name: Final = "object_discovery"
    metrics: Final = (
        Metric(
            "CorLoc",
            "%",
            True,
            "Share of the pictures whose box has an IoU of at least 0.5 with any true box (Deselaers et al. 2010, as in"
            " LOST, Siméoni et al. 2021).",
        ),
        Metric("box IoU", "%", True, "IoU of the box with the true box that it fits best; mean over the pictures."),
    )

    def __init__(self, config: ObjectDiscoveryConfig, data: str | Path):
        """Find the pictures and their boxes.

        Args:
            config: all options.
            data: folder of the data set.

        Raises:
            EvaluationError: something is missing, an annotation cannot be read, or no picture has a box.
            ConfigError: a sequence does not exist.
        """
        self._config = config
        self._format, self._scenes = find_scenes(config, Path(data))
        if all(scene.boxes == () for scene in self._scenes):
            but = "" if config.difficult else " but for difficult ones, which difficult=false leaves out"
            raise EvaluationError(f"data={data}: none of the {len(self._scenes)} pictures has a box{but}.")

    @property
    def protocol(self) -> dict[str, Any]:
        """How it is measured."""
        data = data_protocol(self._config, self._format, self._scenes)
        if self._format is DataFormat.voc:
            data |= {"split": self._config.split, "difficult boxes": self._config.difficult}
        return data | algorithm_protocol(self._config)

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
        ious: dict[str, float] = {}
        by_centre: list[float] = []
        pictures = self._pictures(without_object)
        for (key, boxes, hw), found, grid in found_objects(method, pictures, self._config, reporter, len(self._scenes)):
            ious[key] = best_iou(box_of_patches(found.mask, grid, hw), boxes)
            by_centre.append(float(best_iou(central_box(hw), boxes) >= _HIT))
            if found.is_empty:
                nothing_found.append(key)
        hits = {key: float(value >= _HIT) for key, value in ious.items()}
        return Scores(
            values={"CorLoc": percent([*hits.values()]), "box IoU": percent([*ious.values()])},
            notes=(*notes(len(ious), without_object, nothing_found), *_by_centre(by_centre)),
            details={"CorLoc by sequence": by_sequence(hits, self._scenes)},
        )

    def _pictures(self, without_object: list[str]) -> Iterator[tuple[_Truth, ImageTensor]]:
        """Pictures and their true boxes, read one by one; those that have none are named in `without_object`."""
        for scene in self._scenes:
            picture = read_image(scene.picture)
            hw = (picture.shape[1], picture.shape[2])
            if boxes := _boxes(scene, hw):
                yield (scene.key, boxes, hw), picture
            else:
                without_object.append(scene.key)


def _by_centre(hits: list[float]) -> list[str]:
    if not hits:
        return []
    return [
        f"for comparison: the same box in the middle of every picture, half its area, has CorLoc {percent(hits)[0]:.1f}"
    ]


def _boxes(scene: Scene, hw: tuple[int, int]) -> tuple[Box, ...]:
    """The true boxes; of a mask, one for every object in it."""
    if scene.boxes is not None:
        return scene.boxes
    assert scene.mask is not None
    mask = read_mask(scene.mask, soft=True)
    mask.check_hw(hw, "its picture has")
    boxes = (box_of_mask(torch.from_numpy(mask.of(number))) for number in mask.numbers)
    return tuple(box for box in boxes if box is not None)
