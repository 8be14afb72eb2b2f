"""Losses of the depth head (facts of the released evaluation: scale-invariant log loss, gradient loss)."""

import torch
from torch import Tensor

from dvt.evaluation.config.depth_head import GradientLoss, LossConfig

_EPS_M = 1e-3
"""Added to depths before the logarithm, in metres."""


def depth_loss(predicted: Tensor, target: Tensor, valid: Tensor, step: int, config: LossConfig) -> Tensor:
    """The loss of a batch at a step.

    Args:
        predicted: (B, y, x) depth in metres, above 0.
        target: (B, y, x) measured depth in metres.
        valid: (B, y, x) bool, where the measured depth is known.
        step: number of the update, from 0.
        config: weights.

    Returns:
        A scalar; 0 where fewer than two pixels are known.
    """
    if int(valid.sum()) < 2:
        return predicted.sum() * 0
    error = log_error(predicted, target, valid)
    mean_weight = config.mean_weight
    loss = scale_invariant_loss(error[valid], mean_weight, with_variance=step >= config.variance_from)
    match config.gradient:
        case GradientLoss.correct:
            return loss + config.gradient_weight * gradient_loss(error, valid, config.gradient_scales)
        case GradientLoss.original:
            # It takes the difference between images b and b + 2 of the batch and between channels c and c + 2 of one
            # channel. With the two images that a GPU had, both are empty, and their sum is 0.
            return loss


def log_error(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """(B, y, x) log of the predicted minus log of the measured depth, 0 where that is not known."""
    measured = torch.where(valid, target, predicted.detach())
    return torch.log(predicted + _EPS_M) - torch.log(measured + _EPS_M)


def scale_invariant_loss(errors: Tensor, mean_weight: float, *, with_variance: bool) -> Tensor:
    """sqrt(var(g) + w mean(g)^2) of the log errors g (Eigen et al., 2014, in the form of AdaBins).

    Args:
        errors: (N,) log errors of the known pixels, N >= 2.
        mean_weight: w; with w = 1 it is nearly the root mean square, with w = 0 a wrong scale costs nothing.
        with_variance: the first steps of a training leave the variance out.
    """
    squared = mean_weight * errors.mean().square()
    if with_variance:
        squared = squared + errors.var()
    # The root has no slope at 0; this far below any real error it is cut off.
    return squared.clamp(min=1e-12).sqrt()


def gradient_loss(error: Tensor, valid: Tensor, num_scales: int) -> Tensor:
    """How much the log error differs between neighbours, at several scales (Li and Snavely, 2018, MegaDepth).

    At scale s, every 2^s-th pixel is looked at; the mean of |difference| over the neighbours that are both known,
    side by side and one above the other, is added up over the scales. A scale without such neighbours adds nothing.

    Args:
        error: (B, y, x) log errors.
        valid: (B, y, x) bool.
        num_scales: 1 looks at direct neighbours alone.
    """
    total = error.new_zeros(())
    for scale in range(num_scales):
        every = 2**scale
        sampled, known = error[:, ::every, ::every], valid[:, ::every, ::every]
        for axis in (1, 2):
            size = sampled.shape[axis]
            if size < 2:
                continue
            difference = sampled.diff(dim=axis).abs()
            both = known.narrow(axis, 0, size - 1) & known.narrow(axis, 1, size - 1)
            total = total + (difference * both).sum() / both.sum().clamp(min=1)
    return total
