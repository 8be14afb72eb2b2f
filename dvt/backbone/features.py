"""Features: the output of a backbone; FeatureExtractor: its interface."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from dvt.errors import EvaluationError
from dvt.grid import PatchGrid
from dvt.shapes import FeatureMaps, ImageBatch, PrefixTokens


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Tokens of a batch of images of one size."""

    patches: FeatureMaps
    """(B, H, W, C): one vector per patch, rows from the top, columns from the left."""
    prefix: PrefixTokens
    """(B, P, C): class and register tokens in the model's own order; P may be 0."""
    grid: PatchGrid
    """Places of the patches; `grid.hw` is (H, W)."""


def require_finite(name: str, *tokens: Tensor) -> None:
    """Refuse features that are NaN or infinite; `name` says whose they are.

    Raises:
        EvaluationError: some are.
    """
    if not all(bool(each.isfinite().all()) for each in tokens):
        raise EvaluationError(
            f"{name} gives features that are NaN or infinite. With precision=fp16, use fp32 or bf16; otherwise check"
            " the weights."
        )


@runtime_checkable
class FeatureExtractor(Protocol):
    """Anything that gives features: the raw ViT, and every cleaned one."""

    @property
    def grid(self) -> PatchGrid:
        """The patches of an image of the default size."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def __call__(self, images: ImageBatch) -> Features:
        """(B, 3, y, x) images, RGB in [0, 1], to features."""
