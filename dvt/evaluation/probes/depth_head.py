"""The depth head: a mean over depth bins, behind a linear map or DPT's trunk; its losses and its training."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import cos, pi

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.config.depth import (
    GradientLoss,
    HeadConfig,
    HeadKind,
    LinearDepthConfig,
    LossConfig,
    OptimizerConfig,
)
from dvt.evaluation.patches import upsample
from dvt.evaluation.probes.dpt import MOST_LAYERS, DptTrunk
from dvt.grid import PatchGrid
from dvt.progress import Reporter
from dvt.shapes import FeatureMaps

_LEAST_WEIGHT = 0.1
"""Added to the weight of every bin, so that their sum is never 0."""
_INITIAL_STD = 0.01
_TRUNK_RATE = 0.25
"""Learning rate of DPT's convolutions, as a share of that of the logits, which suits a linear map (with 1 one head of
three did not learn, with 0.05 none learned enough in 400 steps)."""
_EPS_M = 1e-3
"""Added to depths before the logarithm, in metres."""


class DepthHead(nn.Module):
    """Tokens -> logits of bins, upsampled -> weights relu(logit) + 0.1 -> mean depth under them.

    The paper upsamples the features and then applies a 1 x 1 convolution. A linear map and bilinear interpolation
    commute, so the logits are upsampled here: 1 / upsampling^2 of the work.
    """

    bins: Tensor
    scale: Tensor

    def __init__(self, num_channels: int, config: HeadConfig, rng: torch.Generator, num_layers: int = 1):
        """Initialise a head.

        Args:
            num_channels: of all tokens together, class token included.
            config: its shape.
            rng: draws the weights.
            num_layers: blocks of the ViT side by side in the channels; dpt treats each for itself.

        Raises:
            ConfigError: more blocks than dpt has scales for.
        """
        super().__init__()
        self._config, self.trunk = config, None
        if config.kind is HeadKind.dpt:
            if num_layers > MOST_LAYERS:
                raise ConfigError(f"head.kind=dpt reads up to {MOST_LAYERS} blocks, not {num_layers} (backbone.layer).")
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=rng)))
                self.trunk = DptTrunk(num_layers, num_channels // num_layers, config.width)
            num_channels = config.width
        self.logits = nn.Linear(num_channels, config.num_bins)
        with torch.no_grad():
            self.logits.weight.normal_(0, _INITIAL_STD, generator=rng)
            self.logits.bias.zero_()
        self.register_buffer("bins", torch.linspace(config.min_depth, config.max_depth, config.num_bins))
        self.register_buffer("scale", torch.ones(()))

    def measure_in(self, unit: Tensor) -> None:
        """Divide every token by a number before anything else."""
        self.scale = 1 / unit.clamp(min=torch.finfo(unit.dtype).tiny)

    def forward(self, tokens: FeatureMaps, grid: PatchGrid) -> Tensor:
        """(B, y, x) depth in metres over the whole image, `upsampling` times as fine as the patches.

        Args:
            tokens: (B, H, W, C), see `with_class_token`.
            grid: their patches.
        """
        config = self._config
        rows, columns = grid.hw
        if self.trunk is None:
            hw = (rows * config.upsampling, columns * config.upsampling)
            logits = upsample(self.logits(tokens * self.scale), grid, hw)
        else:
            logits = self.logits(self.trunk(tokens * self.scale))
        # The numerator and the denominator of the mean, as one linear map.
        sums = torch.stack([self.bins, torch.ones_like(self.bins)])
        weighted, total = functional.linear(logits.relu(), sums, _LEAST_WEIGHT * sums.sum(dim=1)).unbind(-1)
        return (weighted / total).clamp(config.min_depth, config.max_depth)


def with_class_token(features: Features, num_layers: int = 1) -> FeatureMaps:
    """(B, H, W, 2C): the class token behind every patch token; (B, H, W, C) where the ViT has none.

    Args:
        features: of a ViT.
        num_layers: blocks side by side in the channels; the class token of each stands behind its patches.
    """
    patches = features.patches
    if features.prefix.shape[1] == 0:
        return patches
    class_token = features.prefix[:, :1, None].expand_as(patches)
    pairs = zip(patches.chunk(num_layers, dim=-1), class_token.chunk(num_layers, dim=-1), strict=True)
    return torch.cat([part for pair in pairs for part in pair], dim=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Input of one training step."""

    tokens: FeatureMaps
    """(B, H, W, C), the class token included."""
    grid: PatchGrid
    """Their patches."""
    depth: Tensor
    """(B, y, x) measured depth in metres, 0 where it is unknown; of any size."""


def fit_head(
    head: DepthHead,
    batches: Iterable[Batch],
    config: LinearDepthConfig,
    optimizer: OptimizerConfig,
    reporter: Reporter,
) -> None:
    """Train a head in place.

    Args:
        head: is changed.
        batches: one for every step.
        config: range of depths, and the loss.
        optimizer: AdamW and its schedules.
        reporter: advances by one every step; the caller starts it.

    Raises:
        EvaluationError: its weights are no longer finite.
    """
    groups = [{"params": list(head.logits.parameters()), "share": 1.0}]
    if head.trunk is not None:
        groups.append({"params": list(head.trunk.parameters()), "share": _TRUNK_RATE})
    adam = torch.optim.AdamW(groups, weight_decay=optimizer.weight_decay)
    for step, batch in enumerate(batches):
        for group in adam.param_groups:
            group["lr"] = group["share"] * learning_rate_at(step, optimizer)
            group["betas"] = (momentum_at(step, optimizer), 0.999)
        predicted = resized_depth(head(batch.tokens, batch.grid), batch.depth.shape[1:])
        value = depth_loss(predicted, batch.depth, is_known(batch.depth, config.head), step, config.loss)
        adam.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(head.parameters(), optimizer.clip_norm)
        adam.step()
        reporter.advance()
    if not all(bool(parameter.isfinite().all()) for parameter in head.parameters()):
        raise EvaluationError(
            "the weights of the depth head are no longer finite after its training. Set a smaller learning_rate than"
            f" {optimizer.learning_rate:g}."
        )


def is_known(depth: Tensor, config: HeadConfig) -> Tensor:
    """Where a measured depth is in the range of the head."""
    return (depth > config.min_depth) & (depth < config.max_depth)


def resized_depth(depth: Tensor, hw: tuple[int, ...]) -> Tensor:
    """(B, y, x) depths, bilinear, to another height and width."""
    if tuple(depth.shape[1:]) == tuple(hw):
        return depth
    return functional.interpolate(depth[:, None], size=tuple(hw), mode="bilinear", align_corners=False)[:, 0]


def learning_rate_at(step: int, config: OptimizerConfig) -> float:
    """Learning rate of a step, from 0: half a cosine over all steps, times a linear warm-up."""
    cosine = config.learning_rate * (1 + cos(pi * step / config.num_steps)) / 2
    if step >= config.warmup_steps:
        return cosine
    return cosine * (config.warmup_factor + (1 - config.warmup_factor) * step / config.warmup_steps)


def momentum_at(step: int, config: OptimizerConfig) -> float:
    """beta1 of AdamW at a step, from 0: high, low at the turn, high at the end, on half cosines (one-cycle policy)."""
    turn = config.momentum_turn * config.num_steps
    down = step < turn
    progress = step / turn if down else (step - turn) / (config.num_steps - turn)
    first, last = (config.momentum_high, config.momentum_low) if down else (config.momentum_low, config.momentum_high)
    return last + (first - last) * (1 + cos(pi * progress)) / 2


def depth_loss(predicted: Tensor, target: Tensor, valid: Tensor, step: int, config: LossConfig) -> Tensor:
    """Scale-invariant log loss and gradient loss of a batch (as in the released evaluation).

    Args:
        predicted: (B, y, x) depth in metres, above 0.
        target: (B, y, x) measured depth in metres.
        valid: (B, y, x) bool, where the measured depth is known.
        step: number of the step, from 0.
        config: weights.

    Returns:
        A scalar; 0 where fewer than two pixels are known.
    """
    if int(valid.sum()) < 2:
        return predicted.sum() * 0
    error = log_error(predicted, target, valid)
    loss = scale_invariant_loss(error[valid], config.mean_weight, with_variance=step >= config.variance_from)
    match config.gradient:
        case GradientLoss.correct:
            return loss + config.gradient_weight * gradient_loss(error, valid, config.gradient_scales)
        case GradientLoss.original:
            # The released code differs images b and b + 2 of the batch, and channels c and c + 2 of one channel. With
            # two images per GPU both are empty, and their sum is 0.
            return loss


def log_error(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """(B, y, x) log of the predicted minus log of the measured depth, 0 where that is unknown."""
    measured = torch.where(valid, target, predicted.detach())
    return torch.log(predicted + _EPS_M) - torch.log(measured + _EPS_M)


def scale_invariant_loss(errors: Tensor, mean_weight: float, *, with_variance: bool) -> Tensor:
    """sqrt(var(g) + w mean(g)^2) of the log errors g (Eigen et al. 2014, in the form of AdaBins).

    Args:
        errors: (N,) log errors of the known pixels, N >= 2.
        mean_weight: w; with w = 1 it is nearly the root mean square, with w = 0 a wrong scale costs nothing.
        with_variance: False in the first steps of a training.
    """
    squared = mean_weight * errors.mean().square()
    if with_variance:
        squared = squared + errors.var()
    # The root has no slope at 0; the clamp is far below any real error.
    return squared.clamp(min=1e-12).sqrt()


def gradient_loss(error: Tensor, valid: Tensor, num_scales: int) -> Tensor:
    """Differences of the log error between neighbours, at several scales (Li and Snavely 2018, MegaDepth).

    Scale s takes every 2^s-th pixel. The mean of |difference| over horizontal and vertical neighbours that are both
    known is summed over the scales; a scale without such neighbours adds nothing.

    Args:
        error: (B, y, x) log errors.
        valid: (B, y, x) bool.
        num_scales: 1 takes direct neighbours only.
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
