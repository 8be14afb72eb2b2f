"""Boxes in pixels: around masks, around patches, and their overlap (IoU)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

from dvt.grid import PatchGrid


class Box(NamedTuple):
    """A rectangle in pixels of an image; (0, 0) is the upper left corner, a pixel is 1 wide."""

    left: float
    top: float
    right: float
    bottom: float


def best_iou(found: Box | None, truth: tuple[Box, ...]) -> float:
    """The largest IoU with any of the true boxes, in [0, 1]; 0 where nothing was found.

    Examples:
        >>> best_iou(Box(0, 0, 4, 4), (Box(0, 0, 4, 2), Box(0, 0, 1, 1)))
        0.5
    """
    if found is None:
        return 0.0
    ious = box_iou(torch.tensor([found], dtype=torch.float64), torch.tensor(truth, dtype=torch.float64))
    return float(ious.nan_to_num().max())  # NaN: both boxes are empty


def central_box(image_hw: tuple[int, int]) -> Box:
    """The box in the middle of an image, with its aspect and half its area: the baseline without features."""
    height, width = image_hw
    side = math.sqrt(0.5)
    return Box(width * (1 - side) / 2, height * (1 - side) / 2, width * (1 + side) / 2, height * (1 + side) / 2)


def box_of_mask(mask: Tensor) -> Box | None:
    """The smallest box around a (y, x) bool mask; None where the mask is empty."""
    if not mask.any():
        return None
    (top, bottom), (left, right) = _ends(mask, 1), _ends(mask, 0)
    return Box(left, top, right + 1, bottom + 1)


def box_of_patches(mask: Tensor, grid: PatchGrid, image_hw: tuple[int, int]) -> Box | None:
    """The box around some patches, in pixels of the image; None where there are none.

    Neighbouring patches meet halfway between their centres; patches at a border reach to it.

    Args:
        mask: (H, W) bool.
        grid: the patches.
        image_hw: height and width of the image before it was resized to the size of the grid.
    """
    box = box_of_mask(mask)
    if box is None:
        return None
    height, width = image_hw
    left, right = (_edge(int(column), grid, 1) * width for column in (box.left, box.right))
    top, bottom = (_edge(int(row), grid, 0) * height for row in (box.top, box.bottom))
    return Box(left, top, right, bottom)


def _ends(mask: Tensor, dim: int) -> tuple[int, int]:
    """First and last row (dim 1) or column (dim 0) of the true pixels."""
    touched = mask.any(dim=dim).nonzero()
    return int(touched[0]), int(touched[-1])


def _edge(index: int, grid: PatchGrid, dim: int) -> float:
    """Where the patch of an index begins, as a share of the side."""
    if index in (0, grid.hw[dim]):
        return float(index > 0)
    return (index * grid.step + grid.margin) / grid.image_hw[dim]
