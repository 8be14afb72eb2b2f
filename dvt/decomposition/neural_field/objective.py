"""What the gradient solver minimises, as a pure function of the terms."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from dvt.decomposition.neural_field.equation import Terms
from dvt.decomposition.neural_field.schedule import Phase
from dvt.losses import feature_distance


class Loss(NamedTuple):
    """The parts of the objective; `total` is what is differentiated."""

    total: Tensor
    distance: Tensor
    residual: Tensor
    sparsity: Tensor


def objective(terms: Terms, raw: Tensor, phase: Phase, *, residual_weight: float, sparsity_weight: float) -> Loss:
    """The loss of a batch of tokens (paper, eq. 6-10).

    In the joint phase F + G must match the raw features. In the residual phase F alone moves on the distance of
    F + G + h to them, and h alone on its own error against what F + G leave, with a penalty on its magnitude.

    Args:
        terms: (N, C) terms of the batch.
        raw: (N, C) raw features.
        phase: which half of the fit this is.
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
