"""ViewTokens: what both solvers start from."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from dvt.grid import PatchGrid


@dataclass(frozen=True, slots=True)
class ViewTokens:
    """The raw features of the views of one image and the places they look at; the full view comes last."""

    raw: Float[Tensor, "V H W C"]
    """Features of the backbone."""
    image_xy: Float32[Tensor, "V H W 2"]
    """Place in the image of every token, x then y, [0, 1]."""
    grid: PatchGrid
    """The patches of a view."""

    @property
    def variance(self) -> Tensor:
        """Mean square of the features from their mean, view by view: no second token matrix is made."""
        mean = self.raw.mean(dim=(0, 1, 2))
        return torch.stack([(view - mean).square_().mean() for view in self.raw]).mean()
