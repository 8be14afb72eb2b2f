"""FoundObject: what an algorithm says about a feature map; and what LOST and TokenCut share."""

from dataclasses import dataclass

import torch
from scipy import ndimage
from torch import Tensor

from dvt.shapes import FeatureMap, Tokens

_SAME = 1e-6
"""Features that differ by less than this share of their size are the same: the rest is rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundObject:
    """One object, patch by patch."""

    mask: Tensor
    """(H, W) bool: its patches, side by side; none where nothing was found."""
    soft: Tensor
    """(H, W) float32 in [0, 1]: how much of an object a patch is; all 0 where nothing was found."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found."""
        return not bool(self.mask.any())


def nothing(hw: tuple[int, int]) -> FoundObject:
    """For a map without an object: no patch differs from the others."""
    return FoundObject(mask=torch.zeros(hw, dtype=torch.bool), soft=torch.zeros(hw))


def object_at(seed: int, positive: Tensor, strength: Tensor) -> FoundObject:
    """The patches that hang together with a seed.

    Args:
        seed: number of a patch, row-major; it is positive.
        positive: (H, W) bool.
        strength: (H, W) of any range, brought to [0, 1].
    """
    labels, _ = ndimage.label(positive.numpy())  # neighbours share an edge
    mask = torch.from_numpy(labels == labels.flat[seed])
    low, high = strength.aminmax()
    return FoundObject(mask=mask, soft=((strength - low) / (high - low).clamp(min=torch.finfo().tiny)).float())


def centred_tokens(patches: FeatureMap, centre: bool) -> Tokens:
    """The patches as (N, C), on request without their mean; exactly 0 where all are the same up to rounding."""
    tokens = patches.reshape(-1, patches.shape[-1])
    if not centre:
        return tokens
    rest = tokens - tokens.mean(dim=0)
    return torch.zeros_like(rest) if rest.abs().max() <= _SAME * tokens.abs().max() else rest
