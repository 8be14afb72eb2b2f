"""Class scores of patches, read at pixels; and which class wins there."""

import torch
from torch import Tensor

from dvt.grid import PatchGrid
from dvt.shapes import FeatureMaps


def upsample(maps: FeatureMaps, grid: PatchGrid, hw: tuple[int, int]) -> Tensor:
    """Interpolate bilinearly between the centres of patches; beyond the outermost ones the nearest value holds.

    With patches side by side that is `interpolate(mode="bilinear", align_corners=False)`; where patches overlap, this
    still reads every value at the place that its patch looks at.

    Args:
        maps: (B, H, W, K), one value per patch and class.
        grid: the patches.
        hw: height and width in pixels that the picture is to be read at, whatever size it was looked at in.

    Returns:
        (B, K, y, x).
    """
    weights = [
        _weights(pixels, count, size, grid).to(maps)
        for pixels, count, size in zip(hw, grid.hw, grid.image_hw, strict=True)
    ]
    columns = torch.einsum("bhwk,xw->bkhx", maps, weights[1])
    return torch.einsum("bkhx,yh->bkyx", columns, weights[0])


def winners(scores: Tensor) -> Tensor:
    """(K, y, x) class scores to the (y, x) class with the largest, on the CPU."""
    return scores.max(dim=0).indices.cpu()  # four times as fast as argmax over the first dimension


def _weights(num_pixels: int, num_patches: int, image_size: int, grid: PatchGrid) -> Tensor:
    """(pixels, patches) share of every patch in every pixel, along one axis."""
    centre = (torch.arange(num_pixels, dtype=torch.float64) + 0.5) / num_pixels * image_size
    position = ((centre - grid.patch / 2) / grid.stride).clamp(0, num_patches - 1)
    return (1 - (position[:, None] - torch.arange(num_patches)).abs()).clamp(min=0)
