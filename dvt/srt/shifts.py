"""Shifts by less than a patch: the views they make, and the weights that bring a view's tokens back to their places."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional

from dvt.grid import PatchGrid
from dvt.shapes import FeatureMaps, ImageBatch
from dvt.srt.config import Fill

PaddedBatch = Float[Tensor, "B 3 padded_y padded_x"]
"""Pictures with as many further pixels on every side as the largest shift has."""
AxisWeights = Float32[Tensor, "cells tokens"]
"""How much of every cell of the result a token of a view covers, along one axis."""
RowWeights = Float32[Tensor, "cell_rows H"]
"""The same, for rows."""
ColumnWeights = Float32[Tensor, "cell_columns W"]
"""The same, for columns."""
CellMaps = Float[Tensor, "B cell_rows cell_columns C"]
"""Feature maps on the cells of the result."""


@dataclass(frozen=True, slots=True)
class Shift:
    """By how many pixels a view shows the content of the picture moved."""

    dy: int
    """Down."""
    dx: int
    """To the right."""


def sub_token_shifts(max_shift: int, step: int) -> list[Shift]:
    """The shifts of an ensemble: all pairs of multiples of `step` up to `max_shift` in size, no shift first.

    The released code has "no shift" twice; here it counts once.
    """
    reach = max_shift // step * step
    moves = range(-reach, reach + 1, step)
    return sorted((Shift(dy, dx) for dy in moves for dx in moves), key=lambda shift: shift != Shift(0, 0))


def pad(images: ImageBatch, margin: int, fill: Fill, mean: Tensor) -> PaddedBatch:
    """Pictures with `margin` pixels more on every side.

    Args:
        images: (B, 3, y, x) RGB.
        margin: pixels, fewer than the picture has.
        fill: what the new pixels show.
        mean: (3, 1, 1) the colour of `Fill.mean`.
    """
    sides = (margin, margin, margin, margin)
    match fill:
        case Fill.edge:
            return functional.pad(images, sides, mode="replicate")
        case Fill.reflect:
            return functional.pad(images, sides, mode="reflect")
        case Fill.mean:
            return functional.pad(images - mean, sides) + mean


def view(padded: PaddedBatch, margin: int, shift: Shift) -> ImageBatch:
    """The pictures with their content moved by a shift, at their own size.

    Args:
        padded: what `pad` made of them.
        margin: pixels that it added on every side.
        shift: no larger than the margin.
    """
    height, width = padded.shape[2] - 2 * margin, padded.shape[3] - 2 * margin
    top, left = margin - shift.dy, margin - shift.dx
    return padded[:, :, top : top + height, left : left + width]


def finer_grid(grid: PatchGrid, finer: int) -> PatchGrid:
    """The cells of the result: a token stands for the square of one stride around its centre, cut in `finer` a side.

    For patches side by side, these are cells of `patch / finer` pixels every `patch / finer` pixels.
    """
    stride = grid.stride // finer
    return PatchGrid.of(grid.image_hw, grid.patch - grid.stride + stride, stride)


def axis_weights(num_tokens: int, stride: int, finer: int, shift: int) -> AxisWeights:
    """How much of every cell of the result a token of a shifted view covers, along one axis.

    Repeated over the `stride` pixels that it stands for, and moved back by the shift, token k covers the pixels
    [k stride - shift, (k + 1) stride - shift) of the picture; cell o is [o c, (o + 1) c) with c = stride / finer. The
    weight is the share of the cell that lies in both. With finer = 1 a token has two of them along each axis,
    (stride - |shift|) / stride for its own cell and |shift| / stride for the one beside it, so four in the plane: the
    closed form of SRT. No map with a value per pixel is made.

    Args:
        num_tokens: tokens along the axis.
        stride: pixels between them.
        finer: cells per token; divides the stride.
        shift: pixels by which the content of the view is moved.

    Returns:
        (num_tokens * finer, num_tokens) weights in [0, 1]. A row that sums to less than 1 belongs to a cell that the
        view does not cover in full: it lies at the edge that the content was moved over.
    """
    cell = stride // finer
    cells, tokens = torch.arange(num_tokens * finer) * cell, torch.arange(num_tokens) * stride - shift
    starts = torch.maximum(cells[:, None], tokens)
    ends = torch.minimum(cells[:, None] + cell, tokens + stride)
    return (ends - starts).clamp(min=0).float() / cell


def align(maps: FeatureMaps, weights_y: RowWeights, weights_x: ColumnWeights) -> CellMaps:
    """The maps of a shifted view on the cells of the result, each cell weighted by how much of it the view covers.

    Args:
        maps: (B, H, W, C) of one shift.
        weights_y: (H', H) of its vertical part.
        weights_x: (W', W) of its horizontal part.

    Returns:
        (B, H', W', C), to be divided by the sum of weights over all views.
    """
    rows = torch.matmul(weights_y, maps.flatten(2)).reshape(len(maps), -1, *maps.shape[2:])
    return torch.matmul(weights_x, rows)
