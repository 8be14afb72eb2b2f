"""Object masks on disk: one number per object, or black and white. What is an object in them, and what is void."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from dvt.errors import EvaluationError
from dvt.images.formats import PILLOW_FORMATS
from dvt.images.pillow_settings import pillow_settings

Mask = npt.NDArray[np.bool_]
"""(y, x), true on the object."""

VOID: Final = 255
"""Cannot be told; but white, the object, in a mask that holds nothing else beside 0."""
MOST_NUMBERS: Final = 32
"""Grey files with values above this and below 255 do not number objects."""

_WHITE = 255
_HALF = 128
_EXPECTED = (
    "Expected a mask: a palette or grey PNG of 8 bits, with 0 for the background and one number per object, or 255"
)


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMask:
    """The objects in a picture."""

    path: Path
    """Where it was read."""
    values: npt.NDArray[np.uint8]
    """(y, x): 0 background, else the number of the object; 255 is white, or void."""

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.values.shape
        return height, width

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the objects, ascending: 255 alone is that of a black and white mask, beside others void."""
        found = tuple(int(value) for value in np.unique(self.values) if value != 0)
        return found if found == (_WHITE,) else tuple(value for value in found if value != VOID)

    def of(self, number: int) -> Mask:
        """Where the object of a number is."""
        where: Mask = self.values == number
        return where

    @property
    def any_object(self) -> Mask:
        """Where there is an object, whichever."""
        where: Mask = np.isin(self.values, self.numbers)
        return where

    @property
    def known(self) -> Mask:
        """Where it can be told whether there is an object: not in the void."""
        where: Mask = (self.values == 0) | self.any_object
        return where

    def check_hw(self, hw: tuple[int, int], whose: str) -> None:
        """Refuse a mask of another size than its picture.

        Args:
            hw: height and width of the picture.
            whose: what the picture is, for the error.

        Raises:
            EvaluationError: the sizes differ.
        """
        if self.hw != hw:
            raise EvaluationError(
                f"{self.path} has {self.hw[0]} x {self.hw[1]} px, {whose} {hw[0]} x {hw[1]}."
                " Both have to be of one size: do they belong together?"
            )


def read_mask(path: Path, *, soft: bool = False) -> ObjectMask:
    """Read a mask: of a file with a palette or in grey the numbers that are stored, of 1 bit 0 and 255.

    Args:
        path: the file; a file in colour has to have equal channels.
        soft: take a file without a palette that holds more than 0, 255 and numbers up to 32 as black and white with
            soft edges: 128 and brighter is the object, and becomes 255.

    Raises:
        EvaluationError: it cannot be read, is a picture of another kind, or (with `soft`) too dark to be a mask.
    """
    with pillow_settings():
        try:
            with Image.open(path, formats=PILLOW_FORMATS) as image:
                mode, values = image.mode, np.array(image)
        except MemoryError:
            raise
        except Exception as error:  # on damaged files Pillow raises errors of nearly every type
            raise EvaluationError(f"{path} cannot be read as a mask ({error}). {_EXPECTED}.") from error
    numbers = _numbers(values, mode, path)
    if soft and mode != "P" and np.any((numbers > MOST_NUMBERS) & (numbers != _WHITE)):
        numbers = _cut(numbers, path)
    return ObjectMask(path, numbers)


def _numbers(values: npt.NDArray[Any], mode: str, path: Path) -> npt.NDArray[np.uint8]:
    """(y, x) what is stored."""
    match mode:
        case "1":
            values = np.where(values, _WHITE, 0)
        case "LA":
            values = values[..., 0]
        case "RGB" | "RGBA":
            if np.any(values[..., :1] != values[..., 1:3]):
                raise EvaluationError(f"{path} is a picture in colour. {_EXPECTED}.")
            values = values[..., 0]
        case "L" | "P":
            pass
        case _:
            raise EvaluationError(f"{path} has pixels of mode {mode}. {_EXPECTED}.")
    return values.astype(np.uint8)


def _cut(greys: npt.NDArray[np.uint8], path: Path) -> npt.NDArray[np.uint8]:
    """Black and white, cut at the half."""
    brightest = int(greys.max())
    if brightest < _HALF:
        raise EvaluationError(
            f"{path} is a grey mask with values up to {brightest}; expected 0 for the background and 255 for the"
            f" object, or numbers of objects up to {MOST_NUMBERS}. Store larger numbers as a PNG with a palette."
        )
    return np.where(greys >= _HALF, _WHITE, 0).astype(np.uint8)
