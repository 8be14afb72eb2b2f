"""Labelled pictures, and ways to show them so that their layout gives nothing away."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

import torch
from torch import Tensor

from dvt.errors import EvaluationError
from dvt.evaluation.config.layout import Layout
from dvt.runtime import seed_for
from dvt.shapes import ImageTensor

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A picture and what is known of each of its pixels."""

    key: str
    """Name of the picture in its data set."""
    picture: ImageTensor
    """(3, y, x) RGB in [0, 1]."""
    target: Tensor
    """(y, x), a value for every pixel: int64 classes with -1 for none, or float32 depths in metres with 0 for none."""
    source: str = ""
    """The files that it was read from, for errors; empty where there are none."""

    def __post_init__(self) -> None:
        if self.target.shape != self.picture.shape[1:]:
            height, width = self.picture.shape[1:]
            raise EvaluationError(
                f"{self.key}: the picture is {height} x {width} px, its labels are"
                f" {' x '.join(map(str, self.target.shape))}. Both have to be of one size: do they belong together?"
                + (f" Read from {self.source}." if self.source else "")
            )


class Samples(Sequence[Sample], ABC):
    """Samples that are read when they are asked for."""

    @abstractmethod
    def read(self, index: int) -> Sample:
        """The sample of that number.

        Raises:
            ImageError: a picture cannot be read.
            EvaluationError: what is known of its pixels cannot be read, has another size, or stands for nothing.
        """

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """One of them, or a list."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self.read(index)


def evenly_spaced(items: Sequence[T], count: int | None, option: str) -> list[T]:
    """So many of them, evenly spaced over the whole list from the first; all of them where the count is left out.

    Args:
        items: in their order.
        count: how many.
        option: what the count is called, for the error.

    Raises:
        EvaluationError: there are fewer.
    """
    if count is None:
        return list(items)
    if count > len(items):
        raise EvaluationError(f"{option}={count}, but there are {len(items)} pictures. Leave it out to take all.")
    return [items[number * len(items) // count] for number in range(count)]


class LaidOut(Samples):
    """Samples in another layout. A crop depends on the seed and the key of the picture alone."""

    def __init__(self, samples: Sequence[Sample], layout: Layout, *, test: bool, seed: int = 0):
        """Show samples in a layout.

        Args:
            samples: as they are; loaded when they are asked for.
            layout: how to show them.
            test: whether they are the test pictures.
            seed: of the crops.
        """
        self._samples, self._layout, self._test, self._seed = samples, layout, test, seed

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, index: int) -> Sample:
        """The sample of that number, in this layout."""
        sample = self._samples[index]
        match self._layout:
            case Layout.usual:
                return sample
            case Layout.crops:
                return _random_crop(sample, seed_for(self._seed, sample.key))
            case Layout.upside_down:
                return upside_down(sample) if self._test else sample


def upside_down(sample: Sample) -> Sample:
    """The picture and its labels, bottom row first."""
    return Sample(f"{sample.key} upside down", sample.picture.flip(1), sample.target.flip(0))


def _random_crop(sample: Sample, seed: int) -> Sample:
    """A crop of the picture's aspect, with a quarter to a half of its area, anywhere; upside down half of the time."""
    rng = torch.Generator().manual_seed(seed)
    area, top, left, flip = torch.rand(4, generator=rng).tolist()
    side = (0.25 + 0.25 * area) ** 0.5
    height, width = sample.target.shape
    rows, columns = max(1, round(side * height)), max(1, round(side * width))
    y, x = round(top * (height - rows)), round(left * (width - columns))
    box = slice(y, y + rows), slice(x, x + columns)
    crop = Sample(f"{sample.key} crop", sample.picture[:, box[0], box[1]], sample.target[box])
    return upside_down(crop) if flip < 0.5 else crop
