"""Training of a depth head on batches of tokens."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, pi

import torch
from torch import Tensor
from torch.nn import functional

from dvt.errors import EvaluationError
from dvt.evaluation.config.depth_head import HeadConfig, LossConfig, OptimizerConfig
from dvt.evaluation.probes.depth_head import DepthHead
from dvt.evaluation.probes.depth_losses import depth_loss
from dvt.grid import PatchGrid
from dvt.progress import Reporter
from dvt.shapes import FeatureMaps


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one update of the head sees."""

    tokens: FeatureMaps
    """(B, H, W, C), the class token included."""
    grid: PatchGrid
    """Their patches."""
    depth: Tensor
    """(B, y, x) measured depth in metres, 0 where it is unknown; of any size."""


def fit_head(
    head: DepthHead,
    batches: Iterable[Batch],
    *,
    range_m: HeadConfig,
    loss: LossConfig,
    optimizer: OptimizerConfig,
    reporter: Reporter,
) -> None:
    """Train a head in place.

    Args:
        head: is changed.
        batches: one for every step.
        range_m: which depths count.
        loss: the loss.
        optimizer: AdamW and its schedules.
        reporter: advances by one every step; the caller starts it.

    Raises:
        EvaluationError: its weights are no longer finite.
    """
    adam = torch.optim.AdamW(head.parameters(), weight_decay=optimizer.weight_decay)
    for step, batch in enumerate(batches):
        for group in adam.param_groups:
            group["lr"] = learning_rate_at(step, optimizer)
            group["betas"] = (momentum_at(step, optimizer), 0.999)
        predicted = resized_depth(head(batch.tokens, batch.grid), batch.depth.shape[1:])
        value = depth_loss(predicted, batch.depth, is_known(batch.depth, range_m), step, loss)
        adam.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(head.parameters(), optimizer.clip_norm)
        adam.step()
        reporter.advance()
    if not all(bool(parameter.isfinite().all()) for parameter in head.parameters()):
        raise EvaluationError(
            "the weights of the depth head are no longer finite after its training. Set a smaller learning_rate than"
            f" {optimizer.learning_rate:g}."
        )


def is_known(depth: Tensor, range_m: HeadConfig) -> Tensor:
    """Where a measured depth lies in the range that counts."""
    return (depth > range_m.min_depth) & (depth < range_m.max_depth)


def resized_depth(depth: Tensor, hw: tuple[int, ...]) -> Tensor:
    """(B, y, x) depths, bilinear, to another height and width."""
    if tuple(depth.shape[1:]) == tuple(hw):
        return depth
    return functional.interpolate(depth[:, None], size=tuple(hw), mode="bilinear", align_corners=False)[:, 0]


def learning_rate_at(step: int, config: OptimizerConfig) -> float:
    """Half a cosine over all steps, times a linear warm-up.

    Args:
        step: number of the update, from 0.
        config: the optimiser.
    """
    cosine = config.learning_rate * (1 + cos(pi * step / config.num_steps)) / 2
    if step >= config.warmup_steps:
        return cosine
    return cosine * (config.warmup_factor + (1 - config.warmup_factor) * step / config.warmup_steps)


def momentum_at(step: int, config: OptimizerConfig) -> float:
    """beta1 of AdamW: high at the start, low at the turn, high at the end, along half cosines (one-cycle policy).

    Args:
        step: number of the update, from 0.
        config: the optimiser.
    """
    turn = config.momentum_turn * config.num_steps
    down = step < turn
    progress = step / turn if down else (step - turn) / (config.num_steps - turn)
    first, last = (config.momentum_high, config.momentum_low) if down else (config.momentum_low, config.momentum_high)
    return last + (first - last) * (1 + cos(pi * progress)) / 2
