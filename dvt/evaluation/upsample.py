"""Maps of patches, read at pixels; and which class wins there."""

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
    rows, columns = _axes(maps, grid, hw)
    return torch.einsum("xw,bywc->byxc", columns, torch.einsum("yh,bhwc->bywc", rows, maps))


def upsample_scores(scores: FeatureMaps, grid: PatchGrid, hw: tuple[int, int]) -> Tensor:
    """As `upsample`, of scores of K classes: (B, H, W, K) -> (B, K, y, x), the order in which `winners` is quick."""
    rows, columns = _axes(scores, grid, hw)
    return torch.einsum("bkhx,yh->bkyx", torch.einsum("bhwk,xw->bkhx", scores, columns), rows)


def winners(scores: Tensor) -> Tensor:
    """(K, y, x) class scores to the (y, x) class with the largest, on the CPU."""
    return scores.max(dim=0).indices.cpu()  # four times as fast as argmax over the first dimension


def _axes(maps: Tensor, grid: PatchGrid, hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The weights along rows and along columns."""
    rows, columns = (
        _weights(pixels, count, size, grid).to(maps)
        for pixels, count, size in zip(hw, grid.hw, grid.image_hw, strict=True)
    )
    return rows, columns


def _weights(num_pixels: int, num_patches: int, image_size: int, grid: PatchGrid) -> Tensor:
    """(pixels, patches) share of every patch in every pixel, along one axis."""
    centre_px = (torch.arange(num_pixels, dtype=torch.float64) + 0.5) * image_size / num_pixels
    position = ((centre_px - grid.patch / 2) / grid.stride).clamp(0, num_patches - 1)
    return (1 - (position[:, None] - torch.arange(num_patches)).abs()).clamp(min=0)
