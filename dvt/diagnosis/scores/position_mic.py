"""The position score of the DVT paper: MIC between features and the position on the patch grid."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dvt.diagnosis.scores.mic import mic
from dvt.diagnosis.scores.sample import TokenSample

CANDIDATES = 8
"""Channels, for each axis, whose MIC is worked out: those that tell most about the position by a cheap measure. On
AugReg and DeiT ViT-Ti eight of 192 held the largest in all of four blocks."""
CLUMPS = 5
"""Of the estimator. The 15 of its authors gave the same four digits on AugReg and DeiT ViT-Ti, and is slow on large
grids."""
_LEVELS = 8


def position_mic(sample: TokenSample, candidates: int = CANDIDATES) -> float:
    """1/2 (max over channels MIC(f, x) + max over channels MIC(f, y)), in [0, 1] (DVT paper, s. 5.1 and App. A.4).

    Grids have at most B = (H W) ** 0.6 cells, as in the paper. The paper does not say whether it looks at pictures one
    by one or at all of them together; here it is all together: of one picture with 37 x 37 patches independent noise
    has a maximum of 0.1 over the channels, and the paper reports 0.06.

    Args:
        sample: tokens of many pictures.
        candidates: channels to look at for each axis, after a cheap measure: the mutual information of eight equal
            levels of the channel with the position.
    """
    tokens, places = sample.tokens, sample.rows_columns
    rows, columns = sample.hw
    bound = (rows * columns) ** 0.6
    levels = _levels(tokens)
    best = []
    for axis, size in ((1, columns), (0, rows)):
        place = places[:, axis]
        first = _information(levels, place, size).argsort(descending=True)[:candidates]
        scores = [
            mic(tokens[:, channel].numpy(), place.numpy(), bound=bound, clumps=CLUMPS) for channel in first.tolist()
        ]
        best.append(max(scores))
    return float(np.mean(best))


def _levels(tokens: Float[Tensor, "N C"]) -> Int[Tensor, "N C"]:
    """In which eighth of its channel each value lies, from 0."""
    channels = tokens.T.contiguous()
    borders = channels.sort(dim=1).values[:, [len(tokens) * level // _LEVELS for level in range(1, _LEVELS)]]
    return torch.searchsorted(borders.contiguous(), channels, right=True).T


def _information(levels: Int[Tensor, "N C"], place: Int[Tensor, " N"], size: int) -> Float[Tensor, " C"]:
    """Mutual information of the level of each channel and the place, in nats."""
    num_tokens, channels = levels.shape
    cells = (torch.arange(channels) * _LEVELS + levels) * size + place[:, None]
    counts = torch.bincount(cells.flatten(), minlength=channels * _LEVELS * size)
    joint = counts.reshape(channels, _LEVELS, size).double() / num_tokens
    apart = joint.sum(dim=1, keepdim=True) * joint.sum(dim=2, keepdim=True)
    return torch.where(joint > 0, joint * (joint / apart).log(), 0.0).sum(dim=(1, 2))
