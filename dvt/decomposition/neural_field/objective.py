"""What the gradient solver minimises, and when: loss and phases, as pure functions."""

from enum import Enum
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from dvt.decomposition.neural_field.model import Terms
from dvt.losses import feature_distance


class Phase(Enum):
    """The two halves of a fit."""

    joint = "joint"
    """F and G are fitted to the raw features."""
    residual = "residual"
    """G is frozen; h is fitted to what is left, F goes on."""


def phase_at(step: int, num_steps: int) -> Phase:
    """The phase of a step, counted from 0; the switch is after half the steps plus one, as in the released code."""
    return Phase.residual if step > num_steps // 2 else Phase.joint


class Loss(NamedTuple):
    """The parts of the objective; `total` is differentiated."""

    total: Tensor
    distance: Tensor
    residual: Tensor
    sparsity: Tensor


def objective(terms: Terms, raw: Tensor, phase: Phase, *, residual_weight: float, sparsity_weight: float) -> Loss:
    """The loss of a batch of tokens (paper, eq. 6-10).

    Joint phase: the distance of F + G from the raw features. Residual phase: F alone receives the gradient of the
    distance of F + G + h; h receives that of its own error against raw - F - G, plus a penalty on its magnitude.

    Args:
        terms: (N, C) terms of the batch.
        raw: (N, C) raw features.
        phase: joint or residual.
        residual_weight: alpha of the paper.
        sparsity_weight: beta of the paper.
    """
    if phase is Phase.joint:
        distance = feature_distance(terms.clean + terms.artifact, raw)
        zero = distance.new_zeros(())
        return Loss(total=distance, distance=distance, residual=zero, sparsity=zero)
    artifact = terms.artifact.detach()
    distance = feature_distance(terms.clean + artifact + terms.residual.detach(), raw)
    residual = functional.mse_loss(terms.residual, (raw - terms.clean - artifact).detach())
    sparsity = terms.residual.abs().mean()
    total = distance + residual_weight * residual + sparsity_weight * sparsity
    return Loss(total=total, distance=distance, residual=residual, sparsity=sparsity)
