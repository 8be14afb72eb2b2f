"""What object discovery and saliency share: one object per image, by LOST or TokenCut, against the annotation."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from statistics import fmean
from typing import Any, Generic, TypeVar

from dvt.evaluation.config.objects import Algorithm, DataFormat, ObjectsConfig
from dvt.evaluation.datasets.scenes import Scene, few, find_scenes
from dvt.evaluation.patches import finite_features, fitting_hw
from dvt.evaluation.probes.lost_tokencut import FoundObject, find_object
from dvt.evaluation.task import Scores
from dvt.grid import PatchGrid
from dvt.images.read import read_image
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter
from dvt.shapes import ImageTensor

BATCH_SIZE = 4
"""Images of one size that a method gets at once; they are large."""

Config = TypeVar("Config", bound=ObjectsConfig)
Truth = TypeVar("Truth")
Measured = TypeVar("Measured")


class OneObjectTask(ABC, Generic[Config, Truth, Measured]):
    """Finds one object in every image and compares it with the annotation. Nothing is trained or drawn at random."""

    def __init__(self, config: Config, data: str | Path):
        """Find the images and their annotations, below the folder `data`.

        Raises:
            EvaluationError: something is missing, or images and annotations do not fit together.
            ConfigError: an unknown sequence, or options that do not fit the data.
        """
        self._config = config
        self._format, self._scenes = find_scenes(config, Path(data))

    @property
    def protocol(self) -> dict[str, Any]:
        """How it is measured."""
        config = self._config
        about: dict[str, Any] = {"format": self._format.value, "images": len(self._scenes)}
        if self._format is DataFormat.davis:
            about["sequences"] = list(dict.fromkeys(scene.group for scene in self._scenes))
            about["every nth frame"] = config.every
        about |= {"algorithm": config.algorithm.value, "features": "output, not keys"}
        about["mean subtracted"] = config.centred
        match config.algorithm:
            case Algorithm.lost:
                about |= {"seed": config.seed.value, "candidates": config.num_candidates}
            case Algorithm.tokencut:
                about |= {"tau": config.tau, "eps": config.eps}
        return about | {"short side": "own" if config.image_size is None else config.image_size}

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Score a method; every metric has one value."""
        without_object: list[str] = []
        nothing_found: list[str] = []
        measured: dict[str, Measured] = {}

        def annotated_images() -> Iterator[tuple[tuple[str, Truth], ImageTensor]]:
            for scene in self._scenes:
                image = read_image(scene.image)
                truth = self._truth(scene, (image.shape[1], image.shape[2]))
                if truth is None:
                    without_object.append(scene.key)
                    reporter.advance()
                else:
                    yield (scene.key, truth), image

        reporter.start(len(self._scenes), "images", f"{method.name} features")
        for (key, truth), found, grid in found_objects(method, annotated_images(), self._config):
            measured[key] = self._measure(found, grid, truth)
            if found.is_empty:
                nothing_found.append(key)
            reporter.advance()
        notes = []
        if without_object:
            them = "it" if len(without_object) == 1 else "them"
            notes.append(f"{counted(without_object)} left out, no object is marked in {them}: {few(without_object, 5)}")
        if nothing_found:
            notes.append(
                f"{counted(nothing_found)} with constant features, so nothing was found; counted as missed:"
                f" {few(nothing_found, 5)}"
            )
        if not measured:
            notes.append("no image was left to score")
        return self._scores(measured, notes)

    @abstractmethod
    def _truth(self, scene: Scene, hw: tuple[int, int]) -> Truth | None:
        """The annotation of an image of height and width `hw`; None where it has no object."""

    @abstractmethod
    def _measure(self, found: FoundObject, grid: PatchGrid, truth: Truth) -> Measured:
        """Compare the object found in one image with its annotation."""

    @abstractmethod
    def _scores(self, measured: Mapping[str, Measured], notes: list[str]) -> Scores:
        """The scores over all images that have an object, by their keys."""

    def _by_sequence(self, values: Mapping[str, float]) -> dict[str, float]:
        """The mean per sequence in per cent, of shares by the key of the image; empty without sequences."""
        groups: dict[str, list[float]] = {}
        for scene in self._scenes:
            if scene.group and scene.key in values:
                groups.setdefault(scene.group, []).append(values[scene.key])
        return {group: 100 * fmean(each) for group, each in groups.items()}


def found_objects(
    method: Method, images: Iterable[tuple[Truth, ImageTensor]], config: ObjectsConfig
) -> Iterator[tuple[Truth, FoundObject, PatchGrid]]:
    """Find one object per image, in the order of the images. Images are not kept.

    Args:
        method: makes the features.
        images: with their annotation, which is passed on; neighbours of one size go to the method together.
        config: the algorithm and the size.

    Raises:
        EvaluationError: features that are not finite, or a map that is too large for the algorithm.
    """
    for hw, group in groupby(images, key=lambda each: (each[1].shape[1], each[1].shape[2])):
        while batch := list(islice(group, BATCH_SIZE)):
            size = nearest_hw(method, hw, config.image_size)
            features = finite_features(method, [image for _, image in batch], size)
            for (truth, _), patches in zip(batch, features.patches.cpu(), strict=True):
                yield truth, find_object(patches, config), features.grid


def nearest_hw(method: Method, image_hw: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    """The size an image is resized to: its own, or that short side; each side rounded to the nearest that fits.

    Args:
        method: its patches must fit.
        image_hw: height and width of the image.
        short_side: the shorter of height and width; None keeps the size.

    Raises:
        GeometryError: no size nearby fits.
    """
    scale = 1.0 if short_side is None else short_side / min(image_hw)
    wanted = (max(1, round(image_hw[0] * scale)), max(1, round(image_hw[1] * scale)))
    below, above = (fitting_hw(method, wanted, larger=larger) for larger in (False, True))
    height, width = (
        low if side - low <= high - side else high for side, low, high in zip(wanted, below, above, strict=True)
    )
    return height, width


def percent(values: Sequence[float]) -> tuple[float]:
    """The mean of shares in [0, 1], in per cent; NaN without values."""
    return (100 * fmean(values) if values else math.nan,)


def counted(keys: Sequence[str]) -> str:
    """Their number: "1 image", "2 images"."""
    return "1 image" if len(keys) == 1 else f"{len(keys)} images"
