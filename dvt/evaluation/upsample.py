"""Maps of patches, read at pixels."""

import torch
from torch import Tensor

from dvt.grid import PatchGrid
from dvt.shapes import FeatureMaps


def upsample(maps: FeatureMaps, grid: PatchGrid, hw: tuple[int, int]) -> Tensor:
    """Interpolate bilinearly between the centres of patches; beyond the outermost ones the nearest value holds.

    With patches side by side that is `interpolate(mode="bilinear", align_corners=False)`; where patches overlap, this
    still reads every value at the place that its patch looks at.

    Args:
        maps: (B, H, W, C), one vector per patch.
        grid: the patches.
        hw: rows and columns that the whole picture is read in.

    Returns:
        (B, rows, columns, C).
    """
    rows, columns = (
        _weights(pixels, count, size, grid).to(maps)
        for pixels, count, size in zip(hw, grid.hw, grid.image_hw, strict=True)
    )
    return torch.einsum("xw,bywc->byxc", columns, torch.einsum("yh,bhwc->bywc", rows, maps))


def _weights(num_pixels: int, num_patches: int, image_size: int, grid: PatchGrid) -> Tensor:
    """(pixels, patches) share of every patch in every pixel, along one axis."""
    centre_px = (torch.arange(num_pixels, dtype=torch.float64) + 0.5) * image_size / num_pixels
    position = ((centre_px - grid.patch / 2) / grid.stride).clamp(0, num_patches - 1)
    return (1 - (position[:, None] - torch.arange(num_patches)).abs()).clamp(min=0)
