"""Adam for a table of which each step reads few rows: the numbers of Adam over all of it, the time of the rows read.

A row without gradient is still moved by Adam, by its momentum. Over a stretch of steps without gradient that movement
is a sum known beforehand: m falls by beta1 each step, sqrt(v) by sqrt(beta2), and the learning rates are those of the
schedule. So a row is left alone until it is read again, and is then moved by the whole sum.
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

_FINISH_ROWS = 1 << 16
"""Rows that are brought to their end at a time."""


class TableAdam:
    """A table on the CPU and its Adam, for one fit: `read` rows, run backward, `step`; `finish` at the end.

    Equal to `torch.optim.Adam` without weight decay up to rounding, as long as eps is far below sqrt(v).

    Args:
        table: (R, F) the parameter; in between, its rows are those of their last reading.
        num_steps: length of the fit.
        learning_rate_at: learning rate of a step, counted from 0.
        betas: of Adam.
        eps: of Adam.
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
        """Every row beside its m and v: one fetch from memory, not three."""
        self._state[:, 0] = table.detach()
        self._last = torch.zeros(len(table), dtype=torch.int64)
        """Steps that each row has been through."""
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
        """Weighted sums of K rows each, as they are after the steps so far.

        Args:
            rows: numbers of rows, repeated or not.
            weights: of the rows.

        Returns:
            A leaf that requires a gradient: `step` takes it from there.
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
        """Move the rows of the last reading by the gradient of what was read."""
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
        """Bring all rows to where Adam has them after the last step, and the table with them."""
        for start in range(0, len(self._table), _FINISH_ROWS):
            rows = torch.arange(start, min(start + _FINISH_ROWS, len(self._table)))
            self._keep(rows, *self._fetch(rows))
        self._table.copy_(self._state[:, 0])

    def _fetch(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values, m and v of some rows where Adam has them now."""
        # index_select and index_copy_ throughout: several times as fast on a CPU as brackets
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
        """Every row once: each writes its place, and the one that is found there stays. No sorting."""
        places = torch.arange(len(rows))
        self._place.index_copy_(0, rows, places)
        return rows[self._place.index_select(0, rows) == places]


def _sums_ahead(rates: list[float], fall: float) -> Tensor:
    """(N + 1,) at n: by what a row last moved at step n is still moved, sum over j >= 1 of rates[n + j - 1] fall^j."""
    sums = [0.0]
    for rate in reversed(rates):
        sums.append(fall * (rate + sums[-1]))
    return torch.tensor(sums[::-1], dtype=torch.float64)
