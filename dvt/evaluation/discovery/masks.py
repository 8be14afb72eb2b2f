"""Masks on disk: what is an object in them and what is not."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dvt.errors import EvaluationError
from dvt.images.formats import PILLOW_FORMATS
from dvt.images.pillow_settings import pillow_settings

_HALF = 128


def read_mask(path: Path, picture_hw: tuple[int, int]) -> Tensor:
    """(y, x) int64 number of the object that a pixel belongs to, 0 for none.

    Of a file with a palette the numbers are those stored, one for each object. Any other is turned to grey: an object
    is what is 128 or brighter (of 255), object number 1; a grey file that holds nothing but 0 and 1 is taken as such.

    Args:
        path: the file.
        picture_hw: height and width of its picture.

    Raises:
        EvaluationError: it cannot be read, has another size than its picture, or is too dark to be a mask.
    """
    numbers, has_palette = _pixels(path)
    if numbers.shape != picture_hw:
        raise EvaluationError(
            f"{path} is {numbers.shape[0]} x {numbers.shape[1]} px, its picture {picture_hw[0]} x {picture_hw[1]} px."
            " Both have to be of one size: do they belong together?"
        )
    if has_palette:
        return numbers
    brightest = int(numbers.max())
    if 1 < brightest < _HALF:
        raise EvaluationError(
            f"{path} is a grey mask with values up to {brightest}; expected 0 for the background and 255 for the"
            " object. Numbers of objects have to be stored as a PNG with a palette."
        )
    return (numbers >= min(_HALF, max(brightest, 1))).long()


def _pixels(path: Path) -> tuple[Tensor, bool]:
    """(y, x) int64 numbers, and whether they are those of a palette."""
    with pillow_settings():
        try:
            with Image.open(path, formats=PILLOW_FORMATS) as image:
                has_palette = image.mode == "P"
                pixels = np.array(image if has_palette else image.convert("L"))
        except MemoryError:
            raise
        except Exception as error:  # on damaged files Pillow raises errors of nearly every type
            raise EvaluationError(f"{path} cannot be read as a mask ({error}). Expected an 8-bit PNG.") from error
    return torch.from_numpy(pixels.astype(np.int64)), has_palette


def object_masks(numbers: Tensor) -> list[Tensor]:
    """A (y, x) bool mask for every object in what `read_mask` gives."""
    return [numbers == number for number in torch.unique(numbers).tolist() if number]
