"""The trunk of a DPT head: maps of several blocks of a ViT, brought to several scales and fused from coarse to fine."""

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

CELLS: Final = 4
"""Cells per patch along each side, of the first block's map and of the result; each next block has half of it."""
MOST_LAYERS: Final = 4
"""Blocks that scales are made for: 4, 2, 1 and a half cell per patch."""


class DptTrunk(nn.Module):
    """Features of up to four blocks -> one map with 4 x 4 cells per patch (Ranftl et al. 2021, DPT, s. 3).

    Reassemble: a linear map of each block's features, resampled to its scale, and a convolution. Fusion: from the
    deepest block, two residual convolution units around the sum with the next finer map, and bilinear upsampling. A
    layer norm ends it, instead of batch norms inside. The first block has the finest scale, so early blocks say where
    borders are.

    Examples:
        >>> import torch
        >>> trunk = DptTrunk(num_layers=4, num_channels=8, width=16)
        >>> trunk(torch.rand(2, 3, 5, 32)).shape
        torch.Size([2, 12, 20, 16])
    """

    def __init__(self, num_layers: int, num_channels: int, width: int):
        """Initialise a trunk by the current generator.

        Args:
            num_layers: L, 1 to 4.
            num_channels: C of each block.
            width: channels of every map inside.
        """
        super().__init__()
        assert 1 <= num_layers <= MOST_LAYERS, num_layers
        self.num_layers = num_layers
        self.project = nn.ModuleList(nn.Conv2d(num_channels, width, 1) for _ in range(num_layers))
        self.resample = nn.ModuleList(_resample(width, level) for level in range(num_layers))
        self.refine = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(num_layers))
        self.fuse = nn.ModuleList(_Fusion(width) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, L C) features of the blocks side by side, to (B, 4 H, 4 W, width)."""
        maps = [part.permute(0, 3, 1, 2) for part in tokens.chunk(self.num_layers, dim=-1)]
        levels = [
            refine(resample(project(each)))
            for each, project, resample, refine in zip(maps, self.project, self.resample, self.refine, strict=True)
        ]
        fused: Tensor | None = None
        for level, fuse in zip(reversed(levels), reversed(self.fuse), strict=True):
            fused = fuse(level, fused)
        assert fused is not None
        normed: Tensor = self.norm(fused.permute(0, 2, 3, 1))
        return normed


class _Residual(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, width, y, x) to the same."""
        change: Tensor = self.second(self.first(features.relu()).relu())
        return features + change


class _Fusion(nn.Module):
    """Adds a map to the coarser result before it, upsampled to the size of the map."""

    def __init__(self, width: int):
        super().__init__()
        self.before, self.after = _Residual(width), _Residual(width)

    def forward(self, finer: Tensor, coarser: Tensor | None) -> Tensor:
        """(B, width, y, x) maps to that of the size of `finer`."""
        features: Tensor = self.before(finer)
        if coarser is not None:
            size = finer.shape[-2:]
            features = features + functional.interpolate(coarser, size, mode="bilinear", align_corners=False)
        fused: Tensor = self.after(features)
        return fused


def _resample(width: int, level: int) -> nn.Module:
    """From the patches to 4, 2, 1 or half a cell per patch, by learned weights."""
    factor = CELLS // 2**level
    if factor > 1:
        return nn.ConvTranspose2d(width, width, factor, stride=factor)
    return nn.Identity() if factor else nn.Conv2d(width, width, 3, stride=2, padding=1)
