"""Samples: an image and a value for every pixel; pairs of files that hold them, found and read on demand."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, overload

from torch import Tensor

from dvt.errors import EvaluationError
from dvt.evaluation.datasets.orientation import turned_text, warn_if_turned
from dvt.images import read_image
from dvt.images.formats import has_image_extension
from dvt.shapes import ImageTensor

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """An image and the known value of each of its pixels."""

    key: str
    """Name of the image in its data set."""
    image: ImageTensor
    """(3, y, x) RGB in [0, 1]."""
    target: Tensor
    """(y, x): int64 classes with -1 for none, or float32 depth in metres with 0 for unknown."""
    source: str = ""
    """The files it was read from, for errors."""

    def __post_init__(self) -> None:
        if self.target.shape != self.image.shape[1:]:
            height, width = self.image.shape[1:]
            raise EvaluationError(
                f"{self.key}: the image is {height} x {width} px, its labels are"
                f" {' x '.join(map(str, self.target.shape))}. Both need the same size: do they belong together?"
                + (f" Read from {self.source}." if self.source else "")
            )


class Samples(Sequence[Sample], ABC):
    """Samples that are read on demand."""

    @abstractmethod
    def read(self, index: int) -> Sample:
        """Sample number `index`.

        Raises:
            IndexError: there is none.
            ImageError: the image cannot be read.
            EvaluationError: its target cannot be read, has another size, or holds invalid values.
        """

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """A sample, or a list of some."""
        if isinstance(index, slice):
            return [self.read(number) for number in range(*index.indices(len(self)))]
        return self.read(index)


@dataclass(frozen=True, slots=True)
class SampleFiles:
    """An image file and the file of its target."""

    key: str
    """Name of the image in its data set."""
    image: Path
    """The image."""
    target: Path
    """A PNG with a value for every pixel."""


class FileSamples(Samples):
    """Samples of pairs of files."""

    def __init__(
        self,
        files: Sequence[SampleFiles],
        read_target: Callable[[Path], Tensor],
        change: Callable[[Sample], Sample] | None = None,
    ):
        """Samples of `files`.

        Args:
            files: images and targets.
            read_target: a target file to (y, x).
            change: is applied to every sample.
        """
        self.files, self._read_target, self._change = tuple(files), read_target, change

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> Sample:
        """Read image and target."""
        pair = self.files[index]
        target, turned = self._read_target(pair.target), turned_text(pair.image)
        source = f"{pair.image} and {pair.target}.{turned}".removesuffix(".")
        sample = Sample(pair.key, read_image(pair.image), target, source=source)
        warn_if_turned(pair.image, turned)
        return self._change(sample) if self._change else sample

    def evenly_spaced(self, count: int | None, option: str) -> "FileSamples":
        """Some of them; see `evenly_spaced`."""
        return FileSamples(evenly_spaced(self.files, count, option), self._read_target, self._change)


def evenly_spaced(items: Sequence[T], count: int | None, option: str) -> list[T]:
    """Pick `count` items, evenly spaced from the first; None picks all.

    Args:
        items: in their order.
        count: how many.
        option: name of the count on the command line, for the error.

    Raises:
        EvaluationError: there are fewer.

    Examples:
        >>> evenly_spaced(range(10), 4, "num_test")
        [0, 2, 5, 7]
    """
    if count is None:
        return list(items)
    if count > len(items):
        raise EvaluationError(f"{option}={count}, but there are {len(items)} images. Leave it out to take all.")
    return [items[number * len(items) // count] for number in range(count)]


def pair(
    images: Mapping[str, Path], targets: Mapping[str, Path], where: str, what: str = "labels (.png)"
) -> list[SampleFiles]:
    """Images and targets of the same name, sorted by name.

    Args:
        images: by name without ending.
        targets: likewise.
        where: where they are, for errors.
        what: what the targets are, for errors.

    Raises:
        EvaluationError: there is none, or one without the other.
    """
    for some, others, missing in ((images, targets, what), (targets, images, "image")):
        if alone := sorted(set(some) - set(others)):
            raise EvaluationError(
                f"{where}: {len(alone)} of {len(some)} files have no {missing}, the first is {some[alone[0]]}."
                f" Image and {what} need the same name, apart from the ending. Is the data set unpacked completely?"
            )
    if not images:
        raise EvaluationError(f"{where}: there are no images. Is the data set unpacked completely?")
    return [SampleFiles(key, images[key], targets[key]) for key in sorted(images)]


def by_stem(folder: Path, wanted: Callable[[Path], bool] = has_image_extension) -> dict[str, Path]:
    """The files of a folder by their names without ending.

    Raises:
        EvaluationError: two files differ only in their ending.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not wanted(path):
            continue
        if path.stem in found:
            raise EvaluationError(f"{folder} holds {found[path.stem].name} and {path.name}: keep one of them.")
        found[path.stem] = path
    return found


def is_png(path: Path) -> bool:
    """Whether the name ends in .png."""
    return path.suffix.lower() == ".png"


def find_root(root: Path, below: Iterable[str], parts: Sequence[str], layout: str) -> Path:
    """The folder of a data set: `root`, or one below it, whichever holds all parts.

    Args:
        root: the folder given.
        below: where else to look, relative to it.
        parts: files and folders that the data set must have.
        layout: the expected layout, for the error.

    Raises:
        EvaluationError: none holds them all; names what the most complete one lacks.
    """
    if not root.is_dir():
        raise EvaluationError(f"data={root} is not a folder. Expected {layout}.")
    places = [root, *(root / name for name in below)]
    missing = {place: [part for part in parts if not (place / part).exists()] for place in places}
    best = min(places, key=lambda place: len(missing[place]))
    if missing[best]:
        raise EvaluationError(
            f"data={root} has another layout. Expected {layout}. In {best} there is no {', '.join(missing[best])}."
        )
    return best
