"""G, the artifact term: what a patch position always adds, whatever the view shows (paper, s. 4.1)."""

import torch
from torch import Tensor, nn

from dvt.grid import PatchGrid
from dvt.shapes import FeatureMap, PatchIndex


class ArtifactMap(nn.Module):
    """One vector per patch position, read by index.

    Args:
        grid: the patches of a view.
        num_channels: C of the features.
        std: standard deviation at the start.
    """

    def __init__(self, grid: PatchGrid, num_channels: int, std: float) -> None:
        super().__init__()
        self.hw = grid.hw
        self.vectors = nn.Parameter(torch.randn(grid.num_patches, num_channels) * std)

    def forward(self, patch_index: PatchIndex) -> Tensor:
        """(N,) row-major positions to (N, C) artifact vectors."""
        return self.vectors[patch_index]

    def as_map(self) -> FeatureMap:
        """(H, W, C) all vectors in their place."""
        return self.vectors.reshape(*self.hw, -1)
