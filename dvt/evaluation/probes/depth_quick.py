"""The quick protocol: tokens of small squashed pictures are kept in memory, heads are trained on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from dvt.errors import EvaluationError
from dvt.evaluation.config.depth import LinearDepthConfig
from dvt.evaluation.config.depth_head import OptimizerConfig
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.patches import features_of
from dvt.evaluation.probes.depth_fit import Batch, fit_head, is_known
from dvt.evaluation.probes.depth_head import DepthHead, with_class_token
from dvt.grid import PatchGrid
from dvt.methods.method import Method
from dvt.progress import Reporter
from dvt.runtime import seed_for
from dvt.shapes import FeatureMaps, ImageTensor


@dataclass(frozen=True, slots=True, eq=False)
class _Gathered:
    """Training pictures as a head sees them."""

    keys: list[str]
    """Their names."""
    tokens: FeatureMaps
    """(N, H, W, C) on the CPU, the class token included."""
    grid: PatchGrid
    """Their patches."""
    depth: Tensor
    """(N, y, x) on the CPU, as fine as the head's upsampled grid."""
    device: torch.device
    """Where the ViT computes, and the head with it."""


def quick_heads(
    method: Method,
    samples: Sequence[Sample],
    looked_at_hw: tuple[int, int],
    config: LinearDepthConfig,
    reporter: Reporter,
) -> tuple[list[DepthHead], list[str]]:
    """One trained head for every seed, and the keys of training pictures without any known depth.

    Memory: 4 N H W C bytes of tokens, with C doubled by the class token.

    Args:
        method: makes the features.
        samples: training pictures.
        looked_at_hw: size that they are squashed to.
        config: the task.
        reporter: shows the progress.

    Raises:
        EvaluationError: no depth is known in any of them.
        GeometryError: the size does not fit the patch.
    """
    gathered = _gather(method, samples, looked_at_hw, config.head.upsampling, reporter)
    known = is_known(gathered.depth, config.head).flatten(1).any(dim=1)
    if not known.any():
        raise EvaluationError(
            f"none of the {len(samples)} training pictures has a depth between {config.head.min_depth} and"
            f" {config.head.max_depth} m. Are the depth files in millimetres?"
        )
    unusable = [key for key, usable in zip(gathered.keys, known.tolist(), strict=True) if not usable]
    if unusable:
        gathered = replace(gathered, tokens=gathered.tokens[known], depth=gathered.depth[known])
    reporter.start(config.seeds * config.quick.num_steps, "steps", f"{method.name} heads")
    return [_fit(gathered, seed, config, reporter) for seed in range(config.seeds)], unusable


def _gather(
    method: Method, samples: Sequence[Sample], looked_at_hw: tuple[int, int], upsampling: int, reporter: Reporter
) -> _Gathered:
    """Tokens of all pictures, and their depth at the pixels nearest to the head's grid: never a mean over an edge."""
    keys, depths, tokens = [], [], []
    grid = method.grid_for(looked_at_hw)
    fine = (grid.hw[0] * upsampling, grid.hw[1] * upsampling)

    def pictures() -> Iterator[ImageTensor]:
        for number in range(len(samples)):
            sample = samples[number]
            keys.append(sample.key)
            depths.append(functional.interpolate(sample.target[None, None], fine, mode="nearest-exact")[0, 0])
            yield sample.picture

    device = torch.device("cpu")
    reporter.start(len(samples), "images", f"{method.name} features")
    for features in features_of(method, pictures(), len(samples), looked_at_hw, reporter):
        device = features.patches.device
        tokens.append(with_class_token(features).cpu())
    return _Gathered(keys, torch.cat(tokens), grid, torch.stack(depths), device)


def _fit(gathered: _Gathered, seed: int, config: LinearDepthConfig, reporter: Reporter) -> DepthHead:
    optimizer = config.quick
    rng = torch.Generator().manual_seed(seed_for(seed, "linear depth"))
    head = DepthHead(gathered.tokens.shape[-1], config.head, rng)
    # So few steps hang on the scale of the features. One number for all of them changes nothing else.
    head.measure_in(gathered.tokens.square().mean().sqrt())
    head.to(gathered.device)
    fit_head(
        head,
        _batches(gathered, optimizer, rng),
        range_m=config.head,
        loss=config.loss,
        optimizer=optimizer,
        reporter=reporter,
    )
    return head


def _batches(gathered: _Gathered, optimizer: OptimizerConfig, rng: torch.Generator) -> Iterator[Batch]:
    """One for every step; all pictures have their turn before one comes again."""
    count = len(gathered.tokens)
    size = min(optimizer.batch_size, count)
    waiting: list[int] = []
    for _ in range(optimizer.num_steps):
        if len(waiting) < size:
            waiting += torch.randperm(count, generator=rng).tolist()
        chosen, waiting = waiting[:size], waiting[size:]
        tokens, depth = (every[chosen].to(gathered.device) for every in (gathered.tokens, gathered.depth))
        yield Batch(tokens, gathered.grid, depth)
