"""Any picture that Pillow can hold -> (3, height, width) float32 RGB in [0, 1]."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps

from dvt.errors import ImageError
from dvt.shapes import ImageTensor

_Floats = npt.NDArray[np.float32]

_ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
_DEEP_GREY_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_TIFF_BITS_PER_SAMPLE, _TIFF_PHOTOMETRIC = 258, 262


def pil_to_tensor(image: Image.Image, name: str) -> ImageTensor:
    """Convert a PIL image, upright by its EXIF orientation, transparency on white.

    Grey of more than 8 bits keeps its depth (65535 is white); colour of more than 8 bits is read as 8 by Pillow.
    Colour profiles are not applied.

    Args:
        image: of any mode and size; decoded here if it was not.
        name: what to call it in errors.

    Returns:
        (3, height, width) float32 in [0, 1], contiguous.

    Raises:
        ImageError: grey values out of range.
    """
    tiff_tags = getattr(image, "tag_v2", {})
    image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP_GREY_MODES:
        pixels = _deep_grey(image, tiff_tags, name)
    elif image.mode == "F":
        pixels = _float_grey(image, name)
    elif image.mode in _ALPHA_MODES or "transparency" in image.info:
        pixels = _on_white(image)
    else:
        pixels = _eight_bit(image, "RGB")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _eight_bit(image: Image.Image, mode: str) -> _Floats:
    pixels: _Floats = np.array(image.convert(mode), dtype=np.float32) / np.float32(255)
    return pixels


def _on_white(image: Image.Image) -> _Floats:
    if image.mode == "La":  # Pillow converts premultiplied grey only to its straight form
        image = image.convert("LA")
    rgba = _eight_bit(image, "RGBA")
    colour, alpha = rgba[:, :, :3], rgba[:, :, 3:]
    on_white: _Floats = colour * alpha + (1 - alpha)
    return on_white


def _deep_grey(image: Image.Image, tiff_tags: Mapping[int, Any], name: str) -> _Floats:
    values = np.array(image).astype(np.int64)
    # Pillow unpacks 12-bit TIFF without scaling it, and undoes white-is-zero up to 8 bits only.
    white = 4095 if tiff_tags.get(_TIFF_BITS_PER_SAMPLE) == (12,) else 65535
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > white:
        raise ImageError(
            f"{name} is grey with values from {low} to {high}; expected 0 to {white}."
            " Scale it into that range and save it as 16-bit PNG or TIFF."
        )
    if tiff_tags.get(_TIFF_PHOTOMETRIC) == 0:
        grey = (white - values) / white
    else:
        grey = values / white
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 1
    return grey.astype(np.float32)


def _float_grey(image: Image.Image, name: str) -> _Floats:
    values = np.array(image, dtype=np.float32)
    if not (values.min() >= 0 and values.max() <= 1):  # false for NaN as well
        raise ImageError(
            f"{name} holds floats from {values.min():g} to {values.max():g}, whose black and white are not known;"
            " expected 0 to 1. Scale it into that range first."
        )
    return values
