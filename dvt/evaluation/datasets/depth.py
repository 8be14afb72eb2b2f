"""Pictures with measured depth, read when they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dvt.errors import EvaluationError
from dvt.evaluation.datasets.samples import Sample, Samples, evenly_spaced
from dvt.images.pillow_settings import pillow_settings
from dvt.images.read import read_image

Box = tuple[slice, slice]
"""Rows and columns of a picture."""

BOXES_HW = (480, 640)
"""Pictures that the boxes of NYUv2 are made for."""
EIGEN_BOX: Box = (slice(45, 471), slice(41, 601))
"""What is scored of a NYUv2 picture."""
NYU_BORDER_BOX: Box = (slice(45, 472), slice(43, 608))
"""What is left of a NYUv2 picture for training without its white border."""

_UNKNOWN = (0, 65535)


@dataclass(frozen=True, slots=True)
class DepthFile:
    """A picture and its depth."""

    key: str
    """Name in the data set."""
    picture: Path
    """RGB."""
    depth: Path
    """16-bit grey PNG, in millimetres."""


class DepthPictures(Samples):
    """Pictures with their depth in metres, 0 where it is unknown."""

    def __init__(self, files: Sequence[DepthFile], *, keep: Box | None = None, crop: Box | None = None):
        """Read these files when their turn comes.

        Args:
            files: pictures and depths.
            keep: depth outside of it counts as unknown.
            crop: all that is left of picture and depth.
        """
        self._files, self._keep, self._crop = tuple(files), keep, crop

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int) -> Sample:
        """A picture and its depth."""
        file = self._files[index]
        source = f"{file.picture} and {file.depth}"
        sample = Sample(file.key, read_image(file.picture), read_depth(file.depth), source=source)
        if self._keep is None and self._crop is None:
            return sample
        return self._boxed(sample)

    def evenly_spaced(self, count: int | None, option: str) -> "DepthPictures":
        """So many of them, evenly spread; all of them where the count is left out.

        Args:
            count: how many.
            option: what the count is called, for the error.

        Raises:
            EvaluationError: there are fewer.
        """
        chosen = evenly_spaced(self._files, count, option)
        return DepthPictures(chosen, keep=self._keep, crop=self._crop)

    def _boxed(self, sample: Sample) -> Sample:
        if tuple(sample.target.shape) != BOXES_HW:
            raise EvaluationError(
                f"{sample.source}: {sample.target.shape[0]} x {sample.target.shape[1]} px, and the boxes of NYUv2"
                " (Eigen crop, white border) are made for 480 x 640. Is it a picture of NYUv2? If not, set"
                " eigen_crop=false."
            )
        picture, depth = sample.picture, sample.target
        if self._keep is not None:
            kept = torch.zeros_like(depth)
            kept[self._keep] = depth[self._keep]
            depth = kept
        if self._crop is not None:
            picture, depth = picture[:, self._crop[0], self._crop[1]], depth[self._crop]
        return Sample(sample.key, picture, depth, source=sample.source)


def read_depth(path: Path) -> Tensor:
    """Depth of every pixel.

    Args:
        path: a 16-bit grey PNG in millimetres; 0 and 65535 say that nothing was measured.

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
