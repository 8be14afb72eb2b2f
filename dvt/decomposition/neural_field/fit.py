"""The paper's solver: hash-grid network, artifact map and residual predictor, fitted by Adam in two phases."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from dvt.decomposition.config import Encoding, GradientConfig
from dvt.decomposition.neural_field.hash_grid import HashGrid
from dvt.decomposition.neural_field.model import (
    ArtifactMap,
    NeuralDecomposition,
    NeuralField,
    ResidualPredictor,
    SemanticField,
)
from dvt.decomposition.neural_field.objective import objective, phase_at
from dvt.decomposition.neural_field.table_adam import TableAdam
from dvt.decomposition.solution import Solution, ViewTokens
from dvt.progress import SILENT, Reporter
from dvt.schedules import warmup_then_cosine

_BETAS, _EPS = (0.9, 0.99), 1e-15
"""Of Adam, as released."""


def solve_gradient(
    tokens: ViewTokens,
    config: GradientConfig,
    encoding: Encoding,
    seed: int,
    start: Solution | None = None,
    reporter: Reporter = SILENT,
) -> Solution:
    """Fit F, G and h to the views of one image.

    Args:
        tokens: raw features and places of all views; the fit runs on their device, in float32.
        config: steps, rates, weights, networks.
        encoding: implementation of the hash grid.
        seed: of the initialisation and of the draw of tokens. The fit is deterministic on a CPU; on a GPU it is not,
            because gradients are added in no fixed order.
        start: solution to begin at, such as the closed form: F is its field plus a network that starts at zero.
            None: the network alone and a random G, as in the paper.
        reporter: counts the steps.
    """
    device = tokens.raw.device
    num_channels = tokens.raw.shape[-1]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = NeuralDecomposition(
            SemanticField(num_channels, config.hash_grid, encoding, device, seed),
            ArtifactMap(tokens.grid, num_channels, config.artifact_std),
            ResidualPredictor(num_channels),
        ).to(device)
    if start is not None:
        model.begin_at(start)
    optimizer = FitOptimizer(model, config)
    raw, image_xy = tokens.raw.reshape(-1, num_channels), tokens.image_xy.reshape(-1, 2)
    distance = raw.new_zeros(())
    reporter.start(config.num_steps, "steps", "stage 1, neural field")
    for step, pick in enumerate(draw_tokens(len(raw), config, seed, device)):
        batch = raw[pick]
        loss = objective(
            model(batch, image_xy[pick], pick % tokens.grid.num_patches),
            batch,
            phase_at(step, config.num_steps),
            residual_weight=config.residual_weight,
            sparsity_weight=config.sparsity_weight,
        )
        optimizer.step(loss.total * config.loss_scale)
        distance = loss.distance.detach()
        reporter.advance()
    optimizer.finish()
    model.requires_grad_(False)
    artifact = model.artifact.as_map().clone()
    constant = artifact.mean(dim=(0, 1)) if config.centre_artifact else torch.zeros_like(artifact[0, 0])
    return Solution(
        field=NeuralField(network=model.field, constant=constant),
        artifact=artifact - constant,
        diagnostics={"final_distance": float(distance)},
    )


def draw_tokens(num_tokens: int, config: GradientConfig, seed: int, device: torch.device) -> Iterator[Tensor]:
    """(batch_tokens,) indices for every step, with replacement; drawn on the CPU, so that they are equal everywhere."""
    rng = torch.Generator().manual_seed(seed)
    for start in range(0, config.num_steps, 256):
        steps = min(256, config.num_steps - start)
        yield from torch.randint(num_tokens, (steps, config.batch_tokens), generator=rng).to(device)


class FitOptimizer:
    """Adam over F, G and h on the schedule of the fit; on a CPU, only the rows of the hash grid that are read move.

    Args:
        model: the terms.
        config: steps, rates, decay.
    """

    def __init__(self, model: NeuralDecomposition, config: GradientConfig) -> None:
        self._model, self._config = model, config
        self._num_done = 0
        self._rate_at = partial(
            warmup_then_cosine,
            num_steps=config.num_steps,
            peak=config.learning_rate,
            final=config.final_learning_rate,
            warmup_steps=int(config.warmup * config.num_steps),
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
        """Bring all rows of the hash grid to the last step; call it once, after the last `step`."""
        encoding = self._model.field.encoding
        if self._table and isinstance(encoding, HashGrid):
            self._table.finish()
            encoding.reader = None

    def _table_apart(self) -> TableAdam | None:
        """The table's own Adam on a CPU, where writing the whole table costs more than the arithmetic of a step.

        None where weight decay moves every row anyway.
        """
        encoding = self._model.field.encoding
        if not isinstance(encoding, HashGrid) or encoding.table.device.type != "cpu" or self._config.decay_hash_grid:
            return None
        table = TableAdam(encoding.table, self._config.num_steps, self._rate_at, _BETAS, _EPS)
        encoding.reader = table.read
        return table
