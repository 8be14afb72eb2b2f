"""Images with depth: depth files, and the boxes of NYUv2."""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dvt.errors import EvaluationError
from dvt.evaluation.datasets.samples import Sample
from dvt.images.pillow_settings import pillow_settings

Region = tuple[slice, slice]
"""Rows and columns of an image."""

EIGEN_BOX: Final[Region] = (slice(45, 471), slice(41, 601))
"""The part of a NYUv2 image that is scored."""
NYU_BORDER_BOX: Final[Region] = (slice(45, 472), slice(43, 608))
"""A NYUv2 image without its white border, for training."""
_BOXES_HW = (480, 640)
_UNKNOWN = (0, 65535)


def keep_box(sample: Sample, box: Region) -> Sample:
    """The sample with depth outside the box set to unknown.

    Raises:
        EvaluationError: it is not 480 x 640 px.
    """
    _check_size(sample)
    kept = torch.zeros_like(sample.target)
    kept[box] = sample.target[box]
    return Sample(sample.key, sample.image, kept, source=sample.source)


def crop_box(sample: Sample, box: Region) -> Sample:
    """The part of the sample in the box.

    Raises:
        EvaluationError: it is not 480 x 640 px.
    """
    _check_size(sample)
    return Sample(sample.key, sample.image[:, box[0], box[1]], sample.target[box], source=sample.source)


def _check_size(sample: Sample) -> None:
    height, width = sample.target.shape
    if (height, width) != _BOXES_HW:
        raise EvaluationError(
            f"{sample.source}: {height} x {width} px, and the boxes of NYUv2 (Eigen crop, white border) are made for"
            " 480 x 640. Is it an image of NYUv2? If not, set eigen_crop=false."
        )


def read_depth(path: Path) -> Tensor:
    """Depth of every pixel.

    Args:
        path: a 16-bit grey PNG in millimetres; 0 and 65535 mark unknown depth.

    Returns:
        (y, x) float32 in metres, 0 where it is unknown.

    Raises:
        EvaluationError: it cannot be read, or is a file of another kind.
    """
    try:
        with pillow_settings(), Image.open(path, formats=("PNG",)) as image:
            mode, values = image.mode, np.array(image)
    except UnidentifiedImageError as error:
        raise EvaluationError(f"{path} is not a PNG. Expected depth as a 16-bit grey PNG in millimetres.") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on damaged files
        raise EvaluationError(f"{path} cannot be read ({error}). Copy or download it again.") from error
    if values.ndim != 2 or not mode.startswith("I"):
        raise EvaluationError(f"{path} is a PNG of mode {mode}. Expected depth as a 16-bit grey PNG in millimetres.")
    millimetres = np.where(np.isin(values, _UNKNOWN), 0, values)
    return torch.from_numpy(millimetres.astype(np.float32) / 1000)
