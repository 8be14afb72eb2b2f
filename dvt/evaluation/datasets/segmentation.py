"""Images with a class for every pixel: label files, and the training and test images of a data set by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.config.segmentation import SegmentationConfig, Split
from dvt.evaluation.datasets.samples import FileSamples, SampleFiles
from dvt.images.pillow_settings import pillow_settings
from dvt.paths import expand_home


@dataclass(frozen=True, slots=True)
class LabelCodes:
    """Meaning of the numbers in a label file."""

    num_classes: int
    """K."""
    void: int
    """The number of pixels without a class."""
    first: int = 0
    """The number of the first class."""


@dataclass(frozen=True, slots=True)
class SegmentationSet:
    """A data set: its classes, splits and finder."""

    class_names: tuple[str, ...]
    """In the order of the classes' numbers."""
    codes: LabelCodes
    """Numbers in its label files."""
    splits: tuple[str, ...]
    """Splits with labels; train first."""
    find: Callable[[Path, Sequence[str]], dict[str, list[SampleFiles]]]
    """Folder and splits to the files of each split; the other splits may be missing.

    Raises:
        EvaluationError: a file is missing, or images and labels do not pair.
    """

    def samples(self, files: Sequence[SampleFiles]) -> FileSamples:
        """Samples of some of its files."""
        return FileSamples(files, partial(read_labels, codes=self.codes))


@dataclass(frozen=True, slots=True)
class SegmentationData:
    """Labelled images to train and to test on."""

    class_names: tuple[str, ...]
    """In the order of the classes' numbers."""
    train: FileSamples
    """To train on."""
    test: FileSamples
    """To test on."""
    about: dict[str, Any]
    """Data set, split and counts, for the protocol of a task."""

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)


def find_data(config: SegmentationConfig, root: Path) -> SegmentationData:
    """The images that the options ask for. Lists are read and checked; images are not opened.

    Raises:
        ConfigError: the data set has no such split.
        EvaluationError: files are missing or do not pair.
    """
    # each data set is a file of its name with a `DATA`
    data: SegmentationSet = import_module(f"dvt.evaluation.datasets.{config.dataset}").DATA
    split = (config.split or (Split.test if "test" in data.splits else Split.val)).value
    if split not in data.splits:
        known = ", ".join(name for name in data.splits if name != "train")
        raise ConfigError(f"split={split}: {config.dataset} has no labels for it. Give {known}, or leave it out.")
    files = data.find(expand_home(root), ("train", split))
    train = data.samples(files["train"]).evenly_spaced(config.num_train, "num_train")
    test = data.samples(files[split]).evenly_spaced(config.num_test, "num_test")
    about = {"dataset": config.dataset.value, "split": split, "train_images": len(train), "test_images": len(test)}
    return SegmentationData(data.class_names, train, test, about)


def read_labels(path: Path, codes: LabelCodes) -> Tensor:
    """(y, x) int64 classes from 0, -1 where a pixel has none.

    Raises:
        EvaluationError: not an 8-bit PNG of one channel, damaged, or with numbers of no class.
    """
    with pillow_settings():
        try:
            with Image.open(path, formats=["PNG"]) as image:
                mode, stored = image.mode, image.tile[0][3] if image.tile else None
                numbers = np.array(image)
        except Exception as error:  # on damaged files Pillow raises errors of nearly every type
            raise EvaluationError(
                f"{path} cannot be read as labels ({error}). Expected a PNG with a number for every pixel."
            ) from error
    if mode != "P" and (mode, stored) != ("L", "L"):  # Pillow stretches grey of 2 or 4 bits to 0..255
        raise EvaluationError(
            f"{path} has pixels of kind {stored or mode}; expected a number for every pixel: 8-bit grey, or a palette."
            " Turn colours that stand for classes into numbers first."
        )
    labels = torch.from_numpy(numbers.astype(np.int64))
    last = codes.first + codes.num_classes - 1
    wrong = labels[((labels < codes.first) | (labels > last)) & (labels != codes.void)]
    if len(wrong):
        raise EvaluationError(
            f"{path}: {len(wrong)} pixels have labels of no class, the first of them {int(wrong[0])}. Expected"
            f" {codes.first} to {last}, and {codes.void} for none: is this the data set that you named?"
        )
    return torch.where(labels == codes.void, -1, labels - codes.first)
