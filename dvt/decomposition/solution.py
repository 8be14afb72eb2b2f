"""Input (`ViewTokens`) and output (`Solution`) of both solvers, and the error of a solution on held-out views."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dvt.field import Field
from dvt.grid import PatchGrid
from dvt.shapes import FeatureMap, Float, Float32


@dataclass(frozen=True, slots=True)
class ViewTokens:
    """Raw features and image positions of views of one image. In the fit, the full view is last."""

    raw: Float[Tensor, "V H W C"]
    """Features of the backbone."""
    image_xy: Float32[Tensor, "V H W 2"]
    """Image position of every token, x then y, [0, 1]."""
    grid: PatchGrid
    """The patches of a view."""

    @property
    def variance(self) -> Tensor:
        """Mean squared distance of the features from their mean; computed view by view, to save memory."""
        mean = self.raw.mean(dim=(0, 1, 2))
        return torch.stack([(view - mean).square_().mean() for view in self.raw]).mean()


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The clean and the artifact term of one image."""

    field: Field
    """F."""
    artifact: FeatureMap
    """G: (H, W, C), one vector per patch position."""
    diagnostics: dict[str, float]
    """Numbers about the fit."""


@torch.no_grad()
def held_out_error(solution: Solution, held_out: ViewTokens) -> float:
    """Mean square of raw - F - G over views outside the fit, as a share of the variance of their features.

    0 is perfect, 1 is as good as the mean feature. F is read at patch centres, as in the fit. Computed view by view, to
    save memory.
    """
    errors = [
        (raw - solution.field.at(image_xy) - solution.artifact).square().mean()
        for raw, image_xy in zip(held_out.raw, held_out.image_xy, strict=True)
    ]
    return float(torch.stack(errors).mean() / held_out.variance)
