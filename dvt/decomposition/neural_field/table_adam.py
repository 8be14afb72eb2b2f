"""Lazy Adam for a table with few rows used per step: same numbers as dense Adam, at the cost of the rows used.

Adam moves a row without gradient too, by its momentum. Over several steps without gradient, the total movement has a
closed form: m decays by beta1 per step, sqrt(v) by sqrt(beta2), and the schedule gives the learning rates. A row stays
unchanged until its next use, and is then moved by the total.
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn
from torch.nn import functional

from dvt.shapes import Float, Int64

_FINISH_ROWS = 1 << 16
"""Rows per chunk of `finish`."""


class TableAdam:
    """A table on the CPU and its Adam, for one fit: `read` rows, run backward, `step`; `finish` at the end.

    Equal to `torch.optim.Adam` without weight decay up to rounding, if eps is far below sqrt(v).

    Args:
        table: (R, F) the parameter; up to date only after `finish`.
        num_steps: length of the fit.
        learning_rate_at: learning rate of a step, counted from 0.
        betas: betas of Adam.
        eps: epsilon of Adam.
    """

    def __init__(
        self,
        table: nn.Parameter,
        num_steps: int,
        learning_rate_at: Callable[[int], float],
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        self._table, self._betas, self._eps = table, betas, eps
        self._state = torch.zeros(len(table), 3, table.shape[1], dtype=table.dtype)
        """Each row next to its m and v: one memory access instead of three."""
        self._state[:, 0] = table.detach()
        self._last = torch.zeros(len(table), dtype=torch.int64)
        """Number of steps applied to each row."""
        self._place = torch.zeros_like(self._last)
        self._done = 0
        steps = torch.arange(1, num_steps + 1, dtype=torch.float64)
        rates = torch.tensor([learning_rate_at(step) for step in range(num_steps)], dtype=torch.float64)
        self._rates = (rates * (1 - betas[1] ** steps).sqrt() / (1 - betas[0] ** steps)).tolist()
        gaps = torch.arange(num_steps + 1, dtype=torch.float64)
        self._decays = tuple((beta**gaps).to(table.dtype) for beta in betas)
        self._fall = (betas[0] / betas[1] ** 0.5) ** gaps
        self._ahead = _sums_ahead(self._rates, betas[0] / betas[1] ** 0.5)
        self._held: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self._reading: tuple[scipy.sparse.csr_matrix, Tensor] | None = None

    @torch.no_grad()
    def read(self, rows: Int64[Tensor, "N K"], weights: Float[Tensor, "N K"]) -> Float[Tensor, "N F"]:
        """Weighted sums of K rows each, at their current values.

        Args:
            rows: row indices; repetition is allowed.
            weights: weights of the rows.

        Returns:
            A leaf that requires a gradient; `step` uses that gradient.
        """
        flat = rows.flatten()
        distinct = self._distinct(flat)
        values, first, second = self._fetch(distinct)
        self._place.index_copy_(0, distinct, torch.arange(len(distinct)))
        place = self._place.index_select(0, flat).reshape(rows.shape)
        features = functional.embedding_bag(place, values, per_sample_weights=weights.to(values.dtype), mode="sum")
        starts = np.arange(0, place.numel() + 1, place.shape[1])
        matrix = scipy.sparse.csr_matrix(
            (weights.flatten().numpy(), place.flatten().numpy(), starts), shape=(len(place), len(distinct))
        )
        self._held, self._reading = (distinct, values, first, second), (matrix, features)
        return features.requires_grad_()

    @torch.no_grad()
    def step(self) -> None:
        """Update the rows of the last `read` by the gradient of its result."""
        assert self._held is not None and self._reading is not None, "read before step"
        (rows, values, first, second), (matrix, features) = self._held, self._reading
        assert features.grad is not None, "run backward before step"
        gradient = torch.from_numpy(matrix.T @ features.grad.numpy())
        first.mul_(self._betas[0]).add_(gradient, alpha=1 - self._betas[0])
        second.mul_(self._betas[1]).addcmul_(gradient, gradient, value=1 - self._betas[1])
        values.addcdiv_(first, second.sqrt().add_(self._eps), value=-self._rates[self._done])
        self._done += 1
        self._keep(rows, values, first, second)

    @torch.no_grad()
    def finish(self) -> None:
        """Apply all pending movement to all rows, and copy them to the table."""
        for start in range(0, len(self._table), _FINISH_ROWS):
            rows = torch.arange(start, min(start + _FINISH_ROWS, len(self._table)))
            self._keep(rows, *self._fetch(rows))
        self._table.copy_(self._state[:, 0])

    def _fetch(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Current values, m and v of some rows, with pending movement applied."""
        # index_select and index_copy_ are several times faster than indexing on a CPU
        values, first, second = self._state.index_select(0, rows).transpose(0, 1).contiguous()
        last = self._last.index_select(0, rows)
        gap = self._done - last
        shift = self._ahead.index_select(0, last) - self._fall.index_select(0, gap) * self._ahead[self._done]
        moved = first / second.sqrt().add_(self._eps)
        values.addcmul_(moved, shift.to(values.dtype)[:, None], value=-1)
        first.mul_(self._decays[0].index_select(0, gap)[:, None])
        second.mul_(self._decays[1].index_select(0, gap)[:, None])
        return values, first, second

    def _keep(self, rows: Tensor, values: Tensor, first: Tensor, second: Tensor) -> None:
        self._state.index_copy_(0, rows, torch.stack((values, first, second), dim=1))
        self._last.index_fill_(0, rows, self._done)

    def _distinct(self, rows: Tensor) -> Tensor:
        """Distinct rows without sorting: each index writes its position, and the last writer is kept."""
        places = torch.arange(len(rows))
        self._place.index_copy_(0, rows, places)
        return rows[self._place.index_select(0, rows) == places]


def _sums_ahead(rates: list[float], fall: float) -> Tensor:
    """(N + 1,) pending movement of a row last updated at step n: sum over j >= 1 of rates[n + j - 1] fall^j."""
    sums = [0.0]
    for rate in reversed(rates):
        sums.append(fall * (rate + sums[-1]))
    return torch.tensor(sums[::-1], dtype=torch.float64)
