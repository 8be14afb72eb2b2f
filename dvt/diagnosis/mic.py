"""The maximal information coefficient (MIC), and the position score of the DVT paper that is made of it.

MIC says how closely two quantities follow any function or curve. Reshef et al., "Detecting Novel Associations in Large
Data Sets", Science 334 (2011): the largest mutual information of any grid over the scatter plot with at most B cells,
divided by the log of the smaller side of the grid. The estimator is ApproxMaxMI of that paper: one axis is cut into
parts of equal size, the other by dynamic programming, and vice versa.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dvt.diagnosis.probe import TokenSample
from dvt.shapes import Float, Int, Shaped

CANDIDATES = 8
"""Channels per axis whose MIC is computed: those with the largest mutual information by a cheap measure. On AugReg and
DeiT ViT-Ti eight of 192 contained the largest MIC in all of four blocks."""
CLUMPS = 5
"""`clumps` of the estimator. The authors' 15 gives the same four digits on AugReg and DeiT ViT-Ti, and is slow on large
grids."""
_LEVELS = 8

Values = Shaped[npt.NDArray[np.generic], " N"]
"""One number per point."""


def mic(first: Values, second: Values, *, bound: float | None = None, clumps: int = 15) -> float:
    """The MIC of two quantities, in [0, 1]: 1 for noiseless functions, towards 0 for independent ones with more points.

    Args:
        first: one finite number per point, at least four points.
        second: another; both may have repeated values.
        bound: B, the largest number of cells of a grid, at least 4; default: N ** 0.6, as the authors.
        clumps: largest number of places per column where the free axis may be cut; 15, as the authors.

    Examples:
        >>> x = np.linspace(0, 1, 400)
        >>> round(mic(x, np.sin(4 * np.pi * x)), 2)
        1.0
    """
    assert len(first) == len(second) >= 4, (len(first), len(second))
    cells = int(max(4.0, len(first) ** 0.6 if bound is None else bound))
    one, other = _Axis.of(first), _Axis.of(second)
    return min(1.0, max(_one_way(one, other, cells, clumps), _one_way(other, one, cells, clumps)))


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """One of the two quantities, sorted."""

    order: Int[npt.NDArray[np.int64], " N"]
    """The points by value."""
    groups: Int[npt.NDArray[np.int64], " G"]
    """Places in that order where a new value begins; the first is 0."""

    @classmethod
    def of(cls, values: Values) -> "_Axis":
        order = np.argsort(values, kind="stable")
        ascending = values[order]
        return cls(order, np.concatenate([[0], np.flatnonzero(ascending[1:] != ascending[:-1]) + 1]))


def _one_way(free: _Axis, fixed: _Axis, cells: int, clumps: int) -> float:
    """The largest score of grids with rows of equal size on the fixed axis."""
    num_points, best = len(free.order), 0.0
    for rows in range(2, cells // 2 + 1):
        row_of = np.empty(num_points, dtype=np.int64)
        row_of[fixed.order] = _parts(fixed.groups, rows, num_points)
        num_rows = int(row_of.max()) + 1
        if num_rows < 2:  # nearly all points have one value
            continue
        columns = cells // rows
        labels = row_of[free.order]
        clump_of = _parts(_clump_starts(free.groups, labels), clumps * columns, num_points)
        table = np.bincount(clump_of * num_rows + labels, minlength=(int(clump_of[-1]) + 1) * num_rows)
        information = best_columns(table.reshape(-1, num_rows), columns)
        sides = np.minimum(np.arange(2, columns + 1), num_rows)
        best = max(best, float((information / np.log(sides)).max()))
    return best


def best_columns(
    table: Int[npt.NDArray[np.int64], "clumps rows"], columns: int
) -> Float[npt.NDArray[np.float64], " K"]:
    """The largest mutual information, in nats, of neighbouring clumps joined into 2, 3 ... `columns` columns.

    Args:
        table: number of points in every clump and row.
        columns: at least 2.
    """
    total = table.sum()
    sums = np.concatenate([np.zeros((1, table.shape[1]), dtype=np.int64), table.cumsum(axis=0)])
    entropy = _entropy(int(total))
    inside = np.maximum(sums[None] - sums[:, None], 0)  # points of clumps s to t - 1, by row
    # Entropy of the row given the column, times points, in nats; a column cannot end before it begins.
    cost = entropy[inside.sum(axis=2)] - entropy[inside].sum(axis=2)
    cost[np.tril_indices(len(sums), -1)] = np.inf
    rows = entropy[total] - entropy[sums[-1]].sum()
    left, found = cost[0], []
    for _ in range(2, columns + 1):
        left = (left[:, None] + cost).min(axis=0)
        found.append((rows - left[-1]) / total)
    return np.array(found)


@lru_cache(maxsize=4)
def _entropy(total: int) -> Float[npt.NDArray[np.float64], " M"]:
    """`n log n` for n from 0 to `total`."""
    counts = np.arange(total + 1, dtype=np.float64)
    return counts * np.log(np.maximum(counts, 1))


def _clump_starts(
    groups: Int[npt.NDArray[np.int64], " G"], labels: Int[npt.NDArray[np.int64], " N"]
) -> Int[npt.NDArray[np.int64], " L"]:
    """Places where a cut can help: not between two values whose points are all in the same row."""
    low, high = np.minimum.reduceat(labels, groups), np.maximum.reduceat(labels, groups)
    joined = (low[1:] == high[1:]) & (low[:-1] == high[:-1]) & (low[1:] == low[:-1])
    return np.concatenate([[0], groups[1:][~joined]])


def _parts(starts: Int[npt.NDArray[np.int64], " G"], number: int, num_points: int) -> Int[npt.NDArray[np.int64], " N"]:
    """The part of every point, in order: at most `number` parts of about equal size that begin at `starts`."""
    part = np.zeros(num_points, dtype=np.int64)
    inner = starts[1:]
    if len(inner) + 1 > number:
        wanted = np.arange(1, number) * (num_points / number)
        after = np.searchsorted(inner, wanted).clip(1, len(inner) - 1)
        nearer = wanted - inner[after - 1] <= inner[after] - wanted
        inner = np.unique(np.where(nearer, inner[after - 1], inner[after]))
    part[inner] = 1
    return part.cumsum()


def position_mic(sample: TokenSample, candidates: int = CANDIDATES) -> float:
    """1/2 (max over channels MIC(f, x) + max over channels MIC(f, y)), in [0, 1] (DVT paper, s. 5.1 and App. A.4).

    Grids have at most B = (H W) ** 0.6 cells, as in the paper. The paper does not say whether the score is taken per
    image or over all images. Here it is over all: for a single image of 37 x 37 patches, independent noise has a
    maximum of 0.1 over the channels, and the paper reports 0.06.

    Args:
        sample: tokens of many images.
        candidates: channels per axis whose MIC is computed, chosen by a cheap measure: the mutual information of eight
            equal levels of the channel with the position.
    """
    tokens, places = sample.tokens, sample.rows_columns
    rows, columns = sample.hw
    bound = (rows * columns) ** 0.6
    levels = _levels(tokens)
    best = []
    for axis, size in ((1, columns), (0, rows)):
        place = places[:, axis]
        first = _information(levels, place, size).argsort(descending=True)[:candidates]
        scores = [
            mic(tokens[:, channel].numpy(), place.numpy(), bound=bound, clumps=CLUMPS) for channel in first.tolist()
        ]
        best.append(max(scores))
    return float(np.mean(best))


def _levels(tokens: Float[Tensor, "N C"]) -> Int[Tensor, "N C"]:
    """The eighth of its channel that each value is in, from 0."""
    channels = tokens.T.contiguous()
    borders = channels.sort(dim=1).values[:, [len(tokens) * level // _LEVELS for level in range(1, _LEVELS)]]
    return torch.searchsorted(borders.contiguous(), channels, right=True).T


def _information(levels: Int[Tensor, "N C"], place: Int[Tensor, " N"], size: int) -> Float[Tensor, " C"]:
    """Mutual information of the level of each channel and the position, in nats."""
    num_tokens, channels = levels.shape
    cells = (torch.arange(channels) * _LEVELS + levels) * size + place[:, None]
    counts = torch.bincount(cells.flatten(), minlength=channels * _LEVELS * size)
    joint = counts.reshape(channels, _LEVELS, size).double() / num_tokens
    apart = joint.sum(dim=1, keepdim=True) * joint.sum(dim=2, keepdim=True)
    return torch.where(joint > 0, joint * (joint / apart).log(), 0.0).sum(dim=(1, 2))
