"""Images with boxes and classes for detection: VOC by its lists, DAVIS by its sequences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.boxes import Box, box_of_mask
from dvt.evaluation.config.detection import DetectionConfig
from dvt.evaluation.config.objects import DataFormat, ObjectDiscoveryConfig
from dvt.evaluation.datasets.samples import evenly_spaced
from dvt.evaluation.datasets.scenes import Scene, find_scenes, read_scene_mask
from dvt.images.read import read_image
from dvt.shapes import ImageTensor

OBJECT = "object"
"""The only class of boxes around masks."""

_TEST_EVERY = 3
_TOLERANCE_PX = 1.0
"""Boxes may be outside of the image by so much: they are cut there."""


@dataclass(frozen=True, slots=True)
class BoxedSplit:
    """Training and test images; they are listed, not read."""

    format: DataFormat
    """Layout of the data."""
    train: list[Scene]
    """Training images."""
    test: list[Scene]
    """Test images; none of a video that training images are from."""
    class_names: tuple[str, ...]
    """Classes of the boxes of both."""


@dataclass(frozen=True, slots=True, eq=False)
class TrueBoxes:
    """The annotated boxes of an image."""

    key: str
    """Name of the image in its data set."""
    hw: tuple[int, int]
    """Height and width of the image in pixels."""
    boxes: Tensor
    """(N, 4) left, top, right, bottom in pixels of the image, float32; N may be 0."""
    labels: Tensor
    """(N,) int64, numbers of the classes from 0."""
    ignored: Tensor
    """(N,) bool: boxes that are not trained on, and detections on which do not count."""

    def mirrored(self) -> "TrueBoxes":
        """The boxes in the mirror image."""
        left, top, right, bottom = self.boxes.unbind(-1)
        width = self.hw[1]
        return replace(self, boxes=torch.stack([width - right, top, width - left, bottom], dim=-1))

    def upside_down(self) -> "TrueBoxes":
        """The boxes in the image with its bottom row first."""
        left, top, right, bottom = self.boxes.unbind(-1)
        height = self.hw[0]
        return replace(self, boxes=torch.stack([left, height - bottom, right, height - top], dim=-1))


def find_boxed_images(config: DetectionConfig, data: Path) -> BoxedSplit:
    """The training and the test images of a data set.

    Raises:
        EvaluationError: something is missing, an object has no class, no image has a box, or there are too few images.
        ConfigError: an unknown sequence, or a split without training or test sequences.
    """
    options = ObjectDiscoveryConfig(
        format=config.format,
        resolution=config.resolution,
        sequences=config.sequences,
        every=config.every,
        split=config.train_split,
    )
    layout, train = find_scenes(options, data)
    match layout:
        case DataFormat.voc:
            _, test = find_scenes(replace(options, split=config.test_split), data)
            _refuse_overlap(train, test, config)
        case DataFormat.davis:
            train, test = _by_sequence(train, config.test_sequences)
        case DataFormat.folders:
            raise EvaluationError(
                f"data={data} is two folders of images and masks; detection takes format=voc (boxes) or format=davis"
                " (masks of videos)."
            )
    train = evenly_spaced(train, config.num_train, "num_train")
    test = evenly_spaced(test, config.num_test, "num_test")
    return BoxedSplit(layout, train, test, _class_names(train, test) if layout is DataFormat.voc else (OBJECT,))


def read_boxes(scene: Scene, class_names: Sequence[str]) -> tuple[ImageTensor, TrueBoxes]:
    """An image, (3, y, x) RGB in [0, 1], and its boxes; around a mask there is one box per object.

    Raises:
        ImageError: the image cannot be read.
        EvaluationError: the mask cannot be read or has another size, or a box is outside of the image.
    """
    image = read_image(scene.image)
    hw = (image.shape[1], image.shape[2])
    if scene.objects is None:
        mask = read_scene_mask(scene, hw)
        found = (box_of_mask(torch.from_numpy(mask.values == number)) for number in mask.numbers)
        objects = [(OBJECT, False, box) for box in found if box is not None]
    else:
        objects = [(each.name, each.difficult, _inside(each.box, hw, scene)) for each in scene.objects]
    return image, TrueBoxes(
        key=scene.key,
        hw=hw,
        boxes=torch.tensor([box for _, _, box in objects], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([class_names.index(name) for name, _, _ in objects], dtype=torch.int64),
        ignored=torch.tensor([ignored for _, ignored, _ in objects], dtype=torch.bool),
    )


def _inside(box: Box, hw: tuple[int, int], scene: Scene) -> Box:
    """The box, cut at the border of its image."""
    height, width = hw
    outside = max(-box.left, -box.top, box.right - width, box.bottom - height)
    cut = Box(max(box.left, 0), max(box.top, 0), min(box.right, width), min(box.bottom, height))
    if outside > _TOLERANCE_PX or cut.left >= cut.right or cut.top >= cut.bottom:
        left, top, right, bottom = (f"{side:g}" for side in box)
        raise EvaluationError(
            f"{scene.image} is {width} px wide and {height} px high. Its annotation has a box from ({left}, {top}) to"
            f" ({right}, {bottom}), outside of the image. Was the image resized? Correct the annotation."
        )
    return cut


def _by_sequence(scenes: list[Scene], test_sequences: Sequence[str]) -> tuple[list[Scene], list[Scene]]:
    """Training and test images, of different sequences."""
    sequences = list(dict.fromkeys(scene.group for scene in scenes))
    if unknown := [name for name in test_sequences if name not in sequences]:
        raise ConfigError(
            f"test_sequences: there is no sequence {', '.join(unknown)}. There are: {', '.join(sequences)}."
        )
    chosen = list(test_sequences) or sequences[_TEST_EVERY - 1 :: _TEST_EVERY]
    if not chosen or set(chosen) == set(sequences):
        raise ConfigError(
            f"test_sequences=[{','.join(chosen)}] of the sequences {', '.join(sequences)} leaves none to"
            f" {'train' if chosen else 'test'} on: give some of them, or more sequences."
        )
    return [each for each in scenes if each.group not in chosen], [each for each in scenes if each.group in chosen]


def _refuse_overlap(train: Sequence[Scene], test: Sequence[Scene], config: DetectionConfig) -> None:
    both = {scene.key for scene in train} & {scene.key for scene in test}
    if both:
        raise ConfigError(
            f"train_split={config.train_split}, test_split={config.test_split}: {len(both)} images are in both lists,"
            f" such as {min(both)}. Give lists that share none."
        )


def _class_names(train: Sequence[Scene], test: Sequence[Scene]) -> tuple[str, ...]:
    names = {each.name for scene in (*train, *test) for each in scene.objects or ()}
    if "" in names:
        (first, *_) = (scene.key for scene in (*train, *test) if any(not each.name for each in scene.objects or ()))
        raise EvaluationError(f"the annotation of {first} has an object without a name. Expected its class in <name>.")
    for which, scenes in (("training", train), ("test", test)):
        if all(each.difficult for scene in scenes for each in scene.objects or ()):
            raise EvaluationError(
                f"none of the {len(scenes)} {which} images has a box that is not marked as difficult: there is nothing"
                f" to {'learn' if which == 'training' else 'score'}."
            )
    return tuple(sorted(names))
