"""Object masks on disk: one number per object, or black and white; which pixels are void."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from dvt.errors import EvaluationError, ImageError
from dvt.evaluation.datasets.orientation import turned_text, warn_if_turned
from dvt.images.formats import MAX_PIXELS, PILLOW_FORMATS
from dvt.images.pillow_settings import pillow_settings
from dvt.images.untrusted import check_gif_frame, check_size

Mask = npt.NDArray[np.bool_]
"""(y, x), true on the object."""

VOID: Final = 255
"""Unknown. In a mask with no other number beside 0 it is white: the object."""
MOST_NUMBERS: Final = 32
"""Grey files with values above this and below 255 do not number objects."""

_HALF = 128
_EXPECTED = (
    "Expected a mask: a palette or grey PNG of 8 bits, with 0 for the background and one number per object, or 255"
)


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMask:
    """The objects in an image."""

    path: Path
    """The file it comes from."""
    values: npt.NDArray[np.uint8]
    """(y, x): 0 background, else the number of the object; 255 is white, or void."""

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.values.shape
        return height, width

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the objects, ascending. 255 counts only where it is alone; else it is void."""
        found = tuple(int(value) for value in np.unique(self.values) if value != 0)
        return found if found == (VOID,) else tuple(value for value in found if value != VOID)

    @property
    def any_object(self) -> Mask:
        """Pixels of any object."""
        where: Mask = np.isin(self.values, self.numbers)
        return where

    @property
    def known(self) -> Mask:
        """Pixels that are not void."""
        where: Mask = (self.values == 0) | self.any_object
        return where

    def check_hw(self, hw: tuple[int, int], whose: str, image: Path) -> None:
        """Refuse a mask whose size differs from that of its image.

        Args:
            hw: height and width of the image.
            whose: subject and verb for the error: "its image has".
            image: the image.

        Raises:
            EvaluationError: the sizes differ.
        """
        turned = turned_text(image)
        if self.hw != hw:
            raise EvaluationError(
                f"{self.path} has {self.hw[0]} x {self.hw[1]} px, {whose} {hw[0]} x {hw[1]}."
                f" Both must have the same size: do they belong together?{turned}"
            )
        warn_if_turned(image, turned)


def read_mask(path: Path, *, soft: bool = False) -> ObjectMask:
    """Read a mask. Palette and grey files keep their numbers; 1-bit files become 0 and 255.

    Args:
        path: the file; the channels of a colour file must be equal.
        soft: a file without a palette that holds other values than 0 to 32 and 255 is black and white with soft
            edges: 128 and above is the object, and becomes 255.

    Raises:
        EvaluationError: it cannot be read, is not a mask, or (with `soft`) is too dark to be one.
    """
    with pillow_settings():
        try:
            with path.open("rb") as file:
                check_gif_frame(file, str(path), MAX_PIXELS)
            with Image.open(path, formats=PILLOW_FORMATS) as image:
                check_size(str(path), image.size, MAX_PIXELS)
                mode, pixels = image.mode, np.array(image)
        except ImageError as error:
            raise EvaluationError(f"{error} {_EXPECTED}.") from error
        except Exception as error:  # Pillow raises nearly every type of error on damaged files
            raise EvaluationError(f"{path} cannot be read as a mask ({error}). {_EXPECTED}.") from error
    values = _one_channel(pixels, mode, path)
    if soft and mode != "P" and np.any((values > MOST_NUMBERS) & (values != VOID)):
        if (brightest := int(values.max())) < _HALF:
            raise EvaluationError(
                f"{path} is a grey mask with values up to {brightest}; expected 0 for the background and 255 for the"
                f" object, or object numbers up to {MOST_NUMBERS}. Store larger numbers as a PNG with a palette."
            )
        values = np.where(values >= _HALF, VOID, 0).astype(np.uint8)
    return ObjectMask(path, values)


def _one_channel(pixels: npt.NDArray[Any], mode: str, path: Path) -> npt.NDArray[np.uint8]:
    match mode:
        case "1":
            pixels = np.where(pixels, VOID, 0)
        case "LA":
            pixels = pixels[..., 0]
        case "RGB" | "RGBA":
            if np.any(pixels[..., :1] != pixels[..., 1:3]):
                raise EvaluationError(f"{path} is a colour image. {_EXPECTED}.")
            pixels = pixels[..., 0]
        case "L" | "P":
            pass
        case _:
            raise EvaluationError(f"{path} has pixels of mode {mode}. {_EXPECTED}.")
    return pixels.astype(np.uint8)
