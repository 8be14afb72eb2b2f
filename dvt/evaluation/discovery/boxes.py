"""Boxes in pixels: of masks, of patches, and how far two agree."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dvt.grid import PatchGrid


class Box(NamedTuple):
    """A rectangle in pixels of a picture; (0, 0) is its upper left corner, a pixel is 1 wide."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """In square pixels."""
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]; 0 where both are empty."""
    common = Box(
        max(one.left, other.left), max(one.top, other.top), min(one.right, other.right), min(one.bottom, other.bottom)
    ).area
    union = one.area + other.area - common
    return common / union if union > 0 else 0.0


def best_iou(found: Box | None, truth: tuple[Box, ...]) -> float:
    """The largest IoU with any of the true boxes; 0 where nothing was found."""
    return 0.0 if found is None else max(iou(found, box) for box in truth)


def central_box(picture_hw: tuple[int, int]) -> Box:
    """The box in the middle of a picture, of its aspect and half its area: a guess without looking."""
    height, width = picture_hw
    share = math.sqrt(0.5)
    return Box(width * (1 - share) / 2, height * (1 - share) / 2, width * (1 + share) / 2, height * (1 + share) / 2)


def box_of_mask(mask: Tensor) -> Box | None:
    """The smallest box around a (y, x) bool mask; None where the mask is empty."""
    rows, columns = _ends(mask)
    if rows is None or columns is None:
        return None
    return Box(columns[0], rows[0], columns[1] + 1, rows[1] + 1)


def box_of_patches(mask: Tensor, grid: PatchGrid, picture_hw: tuple[int, int]) -> Box | None:
    """The box around some patches, in pixels of the picture.

    Neighbouring patches meet halfway between their centres; those at a border reach to it.

    Args:
        mask: (H, W) bool.
        grid: the patches.
        picture_hw: height and width of the picture, which was squashed to those of the grid.
    """
    rows, columns = _ends(mask)
    if rows is None or columns is None:
        return None
    top, bottom = (_edge(row, grid, 0) * picture_hw[0] for row in (rows[0], rows[1] + 1))
    left, right = (_edge(column, grid, 1) * picture_hw[1] for column in (columns[0], columns[1] + 1))
    return Box(left, top, right, bottom)


def _ends(mask: Tensor) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """First and last row, and first and last column, that a mask touches."""
    ends = []
    for dim in (1, 0):
        touched = torch.nonzero(mask.any(dim=dim))[:, 0].tolist()
        ends.append((touched[0], touched[-1]) if touched else None)
    return ends[0], ends[1]


def _edge(index: int, grid: PatchGrid, dim: int) -> float:
    """Where the patch of an index begins, as a share of the side."""
    if index in (0, grid.hw[dim]):
        return float(index > 0)
    return (index * grid.stride + (grid.patch - grid.stride) / 2) / grid.image_hw[dim]
