"""Pictures and their label files: found, paired, read, refused."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dvt.errors import EvaluationError
from dvt.evaluation.datasets.samples import Sample, Samples, evenly_spaced
from dvt.images import read_image
from dvt.images.formats import has_image_extension
from dvt.images.pillow_settings import pillow_settings


@dataclass(frozen=True, slots=True)
class LabelCodes:
    """What the numbers in a label file mean."""

    num_classes: int
    """How many classes there are."""
    void: int
    """The number of pixels that are not labelled."""
    first: int = 0
    """The number of the first class."""

    @property
    def allowed(self) -> str:
        """The numbers that may occur, for people."""
        return f"{self.first} to {self.first + self.num_classes - 1}, and {self.void} for none"


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """A picture and its labels on disk."""

    key: str
    """Name of the picture in its data set."""
    picture: Path
    """The picture."""
    labels: Path
    """A PNG with a number for every pixel."""


class LabelledPictures(Samples):
    """Pictures with a class for every pixel."""

    def __init__(self, files: Sequence[LabelledFiles], codes: LabelCodes):
        """Samples of some files.

        Args:
            files: pictures and labels.
            codes: what the numbers in the label files mean.
        """
        self.files, self._codes = tuple(files), codes

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> Sample:
        """A picture and its labels."""
        each = self.files[index]
        labels = read_labels(each.labels, self._codes)
        return Sample(each.key, read_image(each.picture), labels, source=f"{each.picture} and {each.labels}")

    def evenly_spaced(self, count: int | None, option: str) -> "LabelledPictures":
        """Some of them, evenly spaced from the first to the last; all of them where the count is left out.

        Raises:
            EvaluationError: there are fewer.
        """
        return LabelledPictures(evenly_spaced(self.files, count, option), self._codes)


def read_labels(path: Path, codes: LabelCodes) -> Tensor:
    """(y, x) int64 classes from 0, -1 where a pixel has none.

    Raises:
        EvaluationError: not an 8-bit PNG of one channel, damaged, or with numbers that stand for nothing.
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
            f"{path} has the kind of pixels {stored or mode}; expected a number for every pixel: 8-bit grey, or a"
            " palette. Colours that stand for classes have to be turned into numbers first."
        )
    labels = torch.from_numpy(numbers.astype(np.int64))
    known = (labels >= codes.first) & (labels < codes.first + codes.num_classes)
    wrong = labels[~known & (labels != codes.void)]
    if len(wrong):
        raise EvaluationError(
            f"{path}: {len(wrong)} pixels have labels that stand for no class, the first of them {int(wrong[0])}."
            f" Expected {codes.allowed}: is this the data set that you named?"
        )
    return torch.where(labels == codes.void, -1, labels - codes.first)


def pair(pictures: Mapping[str, Path], labels: Mapping[str, Path], where: str) -> list[LabelledFiles]:
    """Pictures and labels of one name, sorted by it.

    Args:
        pictures: by name without ending.
        labels: likewise.
        where: what they are, for errors.

    Raises:
        EvaluationError: there is none, or one without the other.
    """
    for some, others, is_missing in ((pictures, labels, "labels"), (labels, pictures, "picture")):
        if alone := sorted(set(some) - set(others)):
            raise EvaluationError(
                f"{where}: {len(alone)} of {len(some)} files have no {is_missing}, the first of them"
                f" {some[alone[0]]}. Every picture needs a label file of the same name with the ending .png, and the"
                " other way round."
            )
    if not pictures:
        raise EvaluationError(f"{where}: there are no pictures. Is the data set unpacked completely?")
    return [LabelledFiles(key, pictures[key], labels[key]) for key in sorted(pictures)]


def by_stem(folder: Path, wanted: Callable[[Path], bool] = has_image_extension) -> dict[str, Path]:
    """The files of a folder by their names without ending.

    Raises:
        EvaluationError: two files differ in their ending alone.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not wanted(path):
            continue
        if path.stem in found:
            raise EvaluationError(f"{folder} holds {found[path.stem].name} and {path.name}: leave one of them.")
        found[path.stem] = path
    return found


def is_png(path: Path) -> bool:
    """Whether the name ends like a label file's."""
    return path.suffix.lower() == ".png"


def find_root(root: Path, below: Iterable[str], parts: Sequence[str], layout: str) -> Path:
    """The folder of a data set: the given one, or one below it, whichever has all the parts.

    Args:
        root: what was given.
        below: where else to look, relative to it.
        parts: files and folders that a data set has to have.
        layout: how it is laid out, for the error.

    Raises:
        EvaluationError: none has them all; says what the most complete one lacks.
    """
    if not root.is_dir():
        raise EvaluationError(f"data={root} is not a folder. Expected {layout}.")
    places = [root, *(root / name for name in below)]
    missing = {place: [part for part in parts if not (place / part).exists()] for place in places}
    best = min(places, key=lambda place: len(missing[place]))
    if missing[best]:
        raise EvaluationError(
            f"data={root} is not laid out as expected. Looked for {layout}. In {best} there is no"
            f" {', '.join(missing[best])}."
        )
    return best
