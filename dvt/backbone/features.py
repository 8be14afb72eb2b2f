"""Features: what a backbone says about a batch of images."""

from dataclasses import dataclass

from dvt.grid import PatchGrid
from dvt.shapes import FeatureMaps, PrefixTokens


@dataclass(frozen=True, slots=True)
class Features:
    """Tokens of a batch of images of one size."""

    patches: FeatureMaps
    """(B, H, W, C): one vector per patch, rows from the top, columns from the left."""
    prefix: PrefixTokens
    """(B, P, C): class and register tokens in the model's own order; P may be 0."""
    grid: PatchGrid
    """Where the patches look; `grid.hw` is (H, W)."""
