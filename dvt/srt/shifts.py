"""The arithmetic of SRT: shifts of less than a patch, shifted views, alignment of their maps, mean and median."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dvt.grid import PatchGrid
from dvt.shapes import FeatureMaps, Float, Float32, ImageBatch
from dvt.srt.config import Aggregate, Fill

PaddedBatch = Float[Tensor, "B 3 padded_y padded_x"]
"""Images padded on every side by the largest shift."""
AxisWeights = Float32[Tensor, "cells tokens"]
"""Share of each result cell that each token of a view covers, along one axis."""
RowWeights = Float32[Tensor, "cell_rows H"]
"""`AxisWeights` of the rows."""
ColumnWeights = Float32[Tensor, "cell_columns W"]
"""`AxisWeights` of the columns."""
CellMaps = Float[Tensor, "B cell_rows cell_columns C"]
"""Feature maps on the result cells."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Displacement of the image content in a view, in pixels."""

    dy: int
    """Down."""
    dx: int
    """To the right."""


def sub_token_shifts(max_shift: int, step: int) -> list[Shift]:
    """All pairs of multiples of `step` up to `max_shift` in size; the zero shift comes first.

    The released code counts the zero shift twice; here it counts once.
    """
    reach = max_shift // step * step
    moves = range(-reach, reach + 1, step)
    return sorted((Shift(dy, dx) for dy in moves for dx in moves), key=lambda shift: shift != Shift(0, 0))


def pad(images: ImageBatch, margin: int, fill: Fill, mean: Tensor) -> PaddedBatch:
    """Pad images on every side.

    Args:
        images: (B, 3, y, x) RGB.
        margin: pixels per side; less than the image size.
        fill: content of the new pixels.
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
    """The images with their content shifted, at the original size.

    Args:
        padded: result of `pad`.
        margin: the margin given to `pad`.
        shift: at most the margin along each axis.
    """
    height, width = padded.shape[2] - 2 * margin, padded.shape[3] - 2 * margin
    top, left = margin - shift.dy, margin - shift.dx
    return padded[:, :, top : top + height, left : left + width]


def axis_weights(num_tokens: int, stride: int, fine: int, shift: int) -> AxisWeights:
    """Share of each result cell that each token of a shifted view covers, along one axis.

    Token k is repeated over its `stride` pixels and moved back by the shift. It then covers the image pixels
    [k stride - shift, (k + 1) stride - shift). Cell o is [o c, (o + 1) c) with c = stride / fine. The weight is the
    share of the cell in the intersection. With fine = 1, a token has two weights along each axis:
    (stride - |shift|) / stride for its own cell and |shift| / stride for the neighbour. These make four weights in the
    plane, the closed form of SRT. No per-pixel map is made.

    Args:
        num_tokens: tokens along the axis.
        stride: pixels between tokens.
        fine: cells per token; divides the stride.
        shift: displacement of the view's content, in pixels.

    Returns:
        (num_tokens * fine, num_tokens) weights in [0, 1]. A row sums to less than 1 if the view covers only part of
        the cell: at the edge across which the content moved.
    """
    cell = stride // fine
    cells, tokens = torch.arange(num_tokens * fine) * cell, torch.arange(num_tokens) * stride - shift
    starts = torch.maximum(cells[:, None], tokens)
    ends = torch.minimum(cells[:, None] + cell, tokens + stride)
    return (ends - starts).clamp(min=0).float() / cell


def align(maps: FeatureMaps, weights_y: RowWeights, weights_x: ColumnWeights) -> CellMaps:
    """Maps of a shifted view on the result cells, weighted by the view's coverage of each cell.

    Args:
        maps: (B, H, W, C) of one shift.
        weights_y: (H', H) weights of its vertical part.
        weights_x: (W', W) weights of its horizontal part.

    Returns:
        (B, H', W', C), to be divided by the sum of weights over all views.
    """
    rows = torch.matmul(weights_y, maps.flatten(2)).reshape(len(maps), -1, *maps.shape[2:])
    return torch.matmul(weights_x, rows)


class RunningMean:
    """Mean over all pairs of a view and a covered pixel. Memory does not depend on the number of views.

    Args:
        grid: the tokens of a view.
        fine: result cells per token along each side.
    """

    def __init__(self, grid: PatchGrid, fine: int):
        self._grid, self._fine = grid, fine
        self._sum: Tensor | None = None
        self._weight: Tensor | None = None

    def add(self, shift: Shift, maps: FeatureMaps) -> None:
        """Add the maps of a view."""
        weights_y, weights_x = _weights(self._grid, self._fine, shift, maps.device)
        aligned, weight = align(maps.float(), weights_y, weights_x), _coverage(weights_y, weights_x)
        if self._sum is None or self._weight is None:
            self._sum, self._weight = aligned, weight
        else:
            self._sum += aligned
            self._weight += weight

    def result(self) -> CellMaps:
        """Sum over weight: views that miss part of a border cell do not reduce its value."""
        assert self._sum is not None and self._weight is not None, "no view was added"
        return self._sum / self._weight[..., None]


class Median:
    """Median per channel over the views that cover any part of a cell.

    The value of a view in a cell is the mean over the covered pixels. With an even number of views, the two middle
    values are averaged. All token maps are kept; alignment works on one result row at a time, to save memory.

    Args:
        grid: the tokens of a view.
        fine: result cells per token along each side.
    """

    def __init__(self, grid: PatchGrid, fine: int):
        self._grid, self._fine = grid, fine
        self._views: list[tuple[RowWeights, ColumnWeights, Tensor]] = []

    def add(self, shift: Shift, maps: FeatureMaps) -> None:
        """Add the maps of a view."""
        self._views.append((*_weights(self._grid, self._fine, shift, maps.device), maps))

    def result(self) -> CellMaps:
        """The median, computed row by row."""
        rows = [self._row(number) for number in range(self._grid.hw[0] * self._fine)]
        return torch.cat(rows, dim=1)

    def _row(self, number: int) -> CellMaps:
        """(B, 1, W', C)."""
        values, covers = [], []
        for weights_y, weights_x, maps in self._views:
            row = weights_y[number : number + 1]
            used = row[0].nonzero()[:, 0]  # one token or two
            aligned = align(maps[:, used].float(), row[:, used], weights_x)
            weight = _coverage(row, weights_x)[..., None]
            values.append(torch.where(weight > 0, aligned / weight, torch.inf))  # uncovered cells sort last
            covers.append(weight > 0)
        stacked = torch.stack(values)
        ordered, num_views = stacked.sort(dim=0).values, torch.stack(covers).sum(dim=0)
        low, high = (
            ordered.gather(0, place.expand(1, *ordered.shape[1:]))[0]
            for place in ((num_views - 1) // 2, num_views // 2)
        )
        return torch.where(stacked.isnan().any(dim=0), torch.nan, (low + high) / 2)  # sorting would hide NaN


def make_aggregator(kind: Aggregate, grid: PatchGrid, fine: int) -> RunningMean | Median:
    """The aggregator of an option."""
    return RunningMean(grid, fine) if kind is Aggregate.mean else Median(grid, fine)


def _weights(grid: PatchGrid, fine: int, shift: Shift, device: torch.device) -> tuple[RowWeights, ColumnWeights]:
    rows, columns = grid.hw
    weights_y, weights_x = (
        axis_weights(count, grid.stride, fine, moved) for count, moved in ((rows, shift.dy), (columns, shift.dx))
    )
    return weights_y.to(device), weights_x.to(device)


def _coverage(weights_y: RowWeights, weights_x: ColumnWeights) -> Tensor:
    """(H', W') share of every cell that the view covers."""
    return torch.outer(weights_y.sum(dim=1), weights_x.sum(dim=1))
