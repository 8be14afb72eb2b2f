"""The maximal information coefficient (MIC): how closely two quantities follow any function or curve.

Reshef et al., "Detecting Novel Associations in Large Data Sets", Science 334 (2011): the largest mutual information of
any grid laid over the scatter plot, divided by log of the smaller side of the grid, over grids of at most B cells. The
estimator is the paper's ApproxMaxMI: one axis is cut into parts of equal size, the other by dynamic programming, and
then the other way round.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int, Shaped

Values = Shaped[npt.NDArray[np.generic], " N"]
"""One number per point."""


def mic(first: Values, second: Values, *, bound: float | None = None, clumps: int = 15) -> float:
    """The MIC of two quantities, in [0, 1]: 1 for noiseless functions, towards 0 with more points where independent.

    Args:
        first: one finite number per point.
        second: another; both may take values more than once.
        bound: B, the number of cells of a grid at most; N ** 0.6, as the authors, and at least 4, when left out.
        clumps: places where the free axis may be cut, per column at most; 15 as the authors.
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
    """Where, in that order, a new value begins; the first is 0."""

    @classmethod
    def of(cls, values: Values) -> "_Axis":
        order = np.argsort(values, kind="stable")
        ascending = values[order]
        return cls(order, np.concatenate([[0], np.flatnonzero(ascending[1:] != ascending[:-1]) + 1]))


def _one_way(free: _Axis, fixed: _Axis, cells: int, clumps: int) -> float:
    """The best score of grids with rows of equal size on the fixed axis."""
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
    """The largest mutual information, in nats, when neighbouring clumps are joined into 2, 3 ... `columns` columns.

    Args:
        table: number of points in every clump and row.
        columns: at least 2.
    """
    total = table.sum()
    sums = np.concatenate([np.zeros((1, table.shape[1]), dtype=np.int64), table.cumsum(axis=0)])
    entropy = _entropy(int(total))
    inside = np.maximum(sums[None] - sums[:, None], 0)  # points of clumps s to t - 1, by row
    # What a column leaves unknown of the row, in points times nats; a column that ends before it begins there is none.
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
    """Where a cut can be of use: not between two values whose points all lie in one and the same row."""
    low, high = np.minimum.reduceat(labels, groups), np.maximum.reduceat(labels, groups)
    joined = (low[1:] == high[1:]) & (low[:-1] == high[:-1]) & (low[1:] == low[:-1])
    return np.concatenate([[0], groups[1:][~joined]])


def _parts(starts: Int[npt.NDArray[np.int64], " G"], number: int, num_points: int) -> Int[npt.NDArray[np.int64], " N"]:
    """The part of every point, in order, with at most `number` parts of about equal size that begin at `starts`."""
    part = np.zeros(num_points, dtype=np.int64)
    inner = starts[1:]
    if len(inner) + 1 > number:
        wanted = np.arange(1, number) * (num_points / number)
        after = np.searchsorted(inner, wanted).clip(1, len(inner) - 1)
        nearer = wanted - inner[after - 1] <= inner[after] - wanted
        inner = np.unique(np.where(nearer, inner[after - 1], inner[after]))
    part[inner] = 1
    return part.cumsum()
