"""The optimizer of the gradient solver: Adam over F, G and h on the schedule of the fit."""

from functools import partial

import torch
from torch import Tensor

from dvt.decomposition.config import GradientConfig
from dvt.decomposition.neural_field.equation import Decomposition
from dvt.decomposition.neural_field.hash_grid import HashGrid
from dvt.decomposition.neural_field.schedule import learning_rate_at
from dvt.decomposition.neural_field.table_adam import TableAdam

_BETAS, _EPS = (0.9, 0.99), 1e-15
"""As released."""


class FitOptimizer:
    """Adam over all three terms; on a CPU the table of the hash grid is moved where it is read.

    Args:
        model: the terms.
        config: steps, rates, decay.
    """

    def __init__(self, model: Decomposition, config: GradientConfig) -> None:
        self._model, self._config = model, config
        self._num_done = 0
        self._rate_at = partial(
            learning_rate_at,
            num_steps=config.num_steps,
            highest=config.learning_rate,
            final=config.final_learning_rate,
            warmup=config.warmup,
        )
        self._table = self._table_apart()
        self._whole_tables = [] if self._table else list(model.field.encoding.parameters())
        self._others = [p for name, p in model.named_parameters() if not name.startswith("field.encoding.")]
        decay = config.weight_decay
        groups = [
            {"params": self._others, "weight_decay": decay},
            {"params": self._whole_tables, "weight_decay": decay if config.decay_hash_grid else 0.0},
        ]
        self._adam = torch.optim.Adam(groups, lr=config.learning_rate, betas=_BETAS, eps=_EPS, fused=True)

    def step(self, loss: Tensor) -> None:
        """Differentiate a loss and move the parameters it depends on."""
        for group in self._adam.param_groups:
            group["lr"] = self._rate_at(self._num_done)
        for parameter in self._others:
            parameter.grad = None  # not zero: Adam must leave a frozen G alone
        for table in self._whole_tables:  # far larger than what a step writes: the buffer is kept
            table.grad = torch.zeros_like(table) if table.grad is None else table.grad.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        if self._table:
            self._table.step()
        self._num_done += 1

    def finish(self) -> None:
        """Bring everything to its last state; the model is as Adam leaves it from here on."""
        encoding = self._model.field.encoding
        if self._table and isinstance(encoding, HashGrid):
            self._table.finish()
            encoding.reader = None

    def _table_apart(self) -> TableAdam | None:
        """On a CPU, writing all of a large table costs more than the arithmetic of a step; a decay moves every row."""
        encoding = self._model.field.encoding
        if not isinstance(encoding, HashGrid) or encoding.table.device.type != "cpu" or self._config.decay_hash_grid:
            return None
        table = TableAdam(encoding.table, self._config.num_steps, self._rate_at, _BETAS, _EPS)
        encoding.reader = table.read
        return table
