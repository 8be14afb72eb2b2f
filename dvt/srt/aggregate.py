"""From the maps of all shifted views to one: a running mean, or a median."""

import torch
from torch import Tensor

from dvt.grid import PatchGrid
from dvt.shapes import FeatureMaps
from dvt.srt.config import Aggregate
from dvt.srt.shifts import CellMaps, ColumnWeights, RowWeights, Shift, align, axis_weights


class RunningMean:
    """The mean over all pairs of a view and a pixel that it covers. Keeps one sum, however many views there are."""

    def __init__(self, grid: PatchGrid, finer: int):
        """Begin.

        Args:
            grid: the tokens of a view.
            finer: cells of the result per token and side.
        """
        self._grid, self._finer = grid, finer
        self._sum: Tensor | None = None
        self._weight: Tensor | None = None

    def add(self, shift: Shift, maps: FeatureMaps) -> None:
        """Take the maps of a view."""
        weights_y, weights_x = _weights(self._grid, self._finer, shift, maps.device)
        aligned, weight = align(maps.float(), weights_y, weights_x), _coverage(weights_y, weights_x)
        if self._sum is None or self._weight is None:
            self._sum, self._weight = aligned, weight
        else:
            self._sum += aligned
            self._weight += weight

    def result(self) -> CellMaps:
        """Sum over weight; a cell at the border is not made smaller by the views that miss part of it."""
        assert self._sum is not None and self._weight is not None, "no view was added"
        return self._sum / self._weight[..., None]


class Median:
    """The median over the views that cover any part of a cell, channel by channel.

    What a view says of a cell is the mean over the pixels of the cell that it covers. Of an even number of views the
    two in the middle are averaged. Keeps the token maps of all views and aligns them one row of the result at a time.
    """

    def __init__(self, grid: PatchGrid, finer: int):
        """Begin.

        Args:
            grid: the tokens of a view.
            finer: cells of the result per token and side.
        """
        self._grid, self._finer = grid, finer
        self._views: list[tuple[RowWeights, ColumnWeights, Tensor]] = []

    def add(self, shift: Shift, maps: FeatureMaps) -> None:
        """Take the maps of a view."""
        self._views.append((*_weights(self._grid, self._finer, shift, maps.device), maps))

    def result(self) -> CellMaps:
        """The median, row by row."""
        rows = [self._row(number) for number in range(self._grid.hw[0] * self._finer)]
        return torch.cat(rows, dim=1)

    def _row(self, number: int) -> CellMaps:
        """(B, 1, W', C)."""
        said, covers = [], []
        for weights_y, weights_x, maps in self._views:
            row = weights_y[number : number + 1]
            used = row[0].nonzero()[:, 0]  # one token or two
            aligned = align(maps[:, used].float(), row[:, used], weights_x)
            weight = _coverage(row, weights_x)[..., None]
            said.append(torch.where(weight > 0, aligned / weight, torch.inf))  # sorted behind all others
            covers.append(weight > 0)
        stacked = torch.stack(said)
        ordered, num_views = stacked.sort(dim=0).values, torch.stack(covers).sum(dim=0)
        low, high = (
            ordered.gather(0, place.expand(1, *ordered.shape[1:]))[0]
            for place in ((num_views - 1) // 2, num_views // 2)
        )
        return torch.where(stacked.isnan().any(dim=0), torch.nan, (low + high) / 2)  # sorting would hide it


def make_aggregator(kind: Aggregate, grid: PatchGrid, finer: int) -> RunningMean | Median:
    """The aggregator of an option."""
    return RunningMean(grid, finer) if kind is Aggregate.mean else Median(grid, finer)


def _weights(grid: PatchGrid, finer: int, shift: Shift, device: torch.device) -> tuple[RowWeights, ColumnWeights]:
    rows, columns = grid.hw
    weights_y, weights_x = (
        axis_weights(count, grid.stride, finer, moved) for count, moved in ((rows, shift.dy), (columns, shift.dx))
    )
    return weights_y.to(device), weights_x.to(device)


def _coverage(weights_y: RowWeights, weights_x: ColumnWeights) -> Tensor:
    """(H', W') share of every cell that the view covers."""
    return torch.outer(weights_y.sum(dim=1), weights_x.sum(dim=1))
