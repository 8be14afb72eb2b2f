"""Solution: what a solver hands back, whichever it was."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dvt.shapes import FeatureMap


@dataclass(frozen=True, slots=True)
class Solution:
    """The clean and the artifact term of one image."""

    clean_at: Callable[[Tensor], Tensor]
    """F: (..., 2) places in the image to (..., C) clean features."""
    artifact: FeatureMap
    """G: (H, W, C), one vector per patch position."""
    diagnostics: dict[str, float]
    """Numbers that the solver can tell about its fit."""
