"""Depth of test pictures by trained heads, and their errors."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dvt.evaluation.config.depth_head import HeadConfig
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.metrics import depth_errors
from dvt.evaluation.patches import BATCH_SIZE, finite_features
from dvt.evaluation.probes.depth_fit import is_known, resized_depth
from dvt.evaluation.probes.depth_head import DepthHead, with_class_token
from dvt.methods.method import Method
from dvt.progress import Reporter

Errors = dict[str, float]
"""The errors of one picture by the name of the metric."""


def score_heads(
    heads: Sequence[DepthHead],
    method: Method,
    samples: Sequence[Sample],
    image_hw: tuple[int, int],
    *,
    flip: bool,
    range_m: HeadConfig,
    reporter: Reporter,
) -> tuple[list[list[Errors]], list[str]]:
    """The errors of every head on every test picture; features are made once for all heads.

    Args:
        heads: one for every seed.
        method: makes the features.
        samples: test pictures.
        image_hw: size that they are looked at in.
        flip: take the mean with the prediction on the mirror image, mirrored back.
        range_m: which depths count.
        reporter: shows the progress.

    Returns:
        Errors per head and picture, and the keys of the pictures without any known depth, which are left out.
    """
    errors: list[list[Errors]] = [[] for _ in heads]
    left_out: list[str] = []
    reporter.start(len(samples), "images", f"{method.name} test features")
    for batch in _batches(samples):
        scored = [sample for sample in batch if is_known(sample.target, range_m).any()]
        left_out += [sample.key for sample in batch if not is_known(sample.target, range_m).any()]
        if scored:
            for found, depths in zip(errors, _depths(heads, method, scored, image_hw, flip), strict=True):
                found += [_errors(depth, each, range_m) for depth, each in zip(depths, scored, strict=True)]
        reporter.advance(len(batch))
    return errors, left_out


@torch.no_grad()
def _depths(
    heads: Sequence[DepthHead], method: Method, samples: Sequence[Sample], image_hw: tuple[int, int], flip: bool
) -> list[Tensor]:
    """For every head the (B, y, x) depths of some pictures, on the head's grid."""
    features = finite_features(method, [sample.picture for sample in samples], image_hw)
    tokens = with_class_token(features)
    depths = [head(tokens, features.grid) for head in heads]
    if flip:
        mirrored = [sample.picture.flip(-1).contiguous() for sample in samples]
        tokens = with_class_token(finite_features(method, mirrored, image_hw))
        also = [head(tokens, features.grid).flip(-1) for head in heads]
        depths = [(one + other) / 2 for one, other in zip(depths, also, strict=True)]
    return depths


def _errors(depth: Tensor, sample: Sample, range_m: HeadConfig) -> Errors:
    known = is_known(sample.target, range_m)
    predicted = resized_depth(depth[None], sample.target.shape)[0].cpu()
    return depth_errors(predicted[known], sample.target[known])


def _batches(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Read a few at a time."""
    for start in range(0, len(samples), BATCH_SIZE):
        yield [samples[number] for number in range(start, min(start + BATCH_SIZE, len(samples)))]
