"""Object masks: PNG files with one number per object, or black and white."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from dvt.errors import EvaluationError
from dvt.images.pillow_settings import pillow_settings

Mask = npt.NDArray[np.bool_]
"""(y, x), true on the object."""

VOID = 255
"""In a mask with several objects: cannot be told."""
_WHITE = 255
_MOST_OBJECTS = 32
"""Grey pictures with more values than this are not masks."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMask:
    """The objects of a frame."""

    path: Path
    """Where it was read."""
    values: npt.NDArray[np.uint8]
    """(y, x): 0 background, else the number of the object; 255 is white, or void."""

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.values.shape
        return height, width

    def objects(self) -> tuple[int, ...]:
        """The numbers of the objects: 255 alone is the one object of a black and white mask, beside others void.

        Raises:
            EvaluationError: there is none, or too many to be a mask.
        """
        found = tuple(int(value) for value in np.unique(self.values) if value != 0)
        if not found:
            raise EvaluationError(
                f"{self.path}, the first mask of its sequence, is empty, so that there is nothing to follow. Expected"
                " the objects in it; leave the sequence out with sequences=[...]."
            )
        if len(found) > _MOST_OBJECTS:
            raise EvaluationError(
                f"{self.path} has {len(found)} different values besides 0. Expected one number per object (at most"
                f" {_MOST_OBJECTS} objects), or 0 and 255; was it resized or saved as JPEG?"
            )
        return found if found == (_WHITE,) else tuple(value for value in found if value != VOID)

    def of(self, number: int) -> Mask:
        """Where the object of a number is."""
        where: Mask = self.values == number
        return where


def read_mask(path: Path) -> ObjectMask:
    """Read a mask: a palette or grey PNG of 8 bits, or a colour PNG whose channels are equal.

    Raises:
        EvaluationError: it cannot be read, or is a picture of another kind.
    """
    try:
        with pillow_settings(), Image.open(path, formats=("PNG",)) as image:
            mode, values = image.mode, np.array(image)
    except UnidentifiedImageError as error:
        raise EvaluationError(f"{path} is not a PNG. Expected a mask: a palette or grey PNG.") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on damaged files
        raise EvaluationError(f"{path} cannot be read ({error}). Copy or download it again.") from error
    if mode == "1":
        values = np.where(values, _WHITE, 0)
    elif mode in ("RGB", "RGBA"):
        values = _grey(values, path)
    elif mode not in ("L", "P"):
        raise EvaluationError(f"{path} is a PNG of mode {mode}. Expected a mask: a palette or grey PNG of 8 bits.")
    return ObjectMask(path, values.astype(np.uint8))


def _grey(values: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    if not (values[..., 0] == values[..., 1]).all() or not (values[..., 0] == values[..., 2]).all():
        raise EvaluationError(f"{path} is a picture in colour. Expected a mask: a palette or grey PNG of 8 bits.")
    return values[..., 0]
