"""Input (`ViewTokens`) and output (`Solution`) of both solvers, and the error of a solution on held-out views."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dvt.field import Field, side_by_side
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
    num_layers: int = 1
    """Layers whose features stand side by side in the channels, C / num_layers each."""

    def by_layer(self) -> "list[ViewTokens]":
        """The tokens of every layer."""
        return [replace(self, raw=raw, num_layers=1) for raw in self.raw.chunk(self.num_layers, dim=-1)]

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


def joined(solutions: Sequence[Solution]) -> Solution:
    """The solutions of several layers of one image as one, their channels side by side; numbers are means over them."""
    if len(solutions) == 1:
        return solutions[0]
    names = solutions[0].diagnostics
    return Solution(
        field=side_by_side([each.field for each in solutions]),
        artifact=torch.cat([each.artifact for each in solutions], dim=-1),
        diagnostics={name: sum(each.diagnostics[name] for each in solutions) / len(solutions) for name in names},
    )


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
