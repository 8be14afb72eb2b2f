"""Tokens with a norm far above the others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dvt.shapes import Bool, FeatureMaps, Float

ROBUST_DEVIATIONS = 6.0
"""An outlier is this many robust standard deviations (1.4826 x median absolute deviation) above the median."""
TIMES_MEDIAN = 2.0
"""An outlier has at least this many times the median norm: after a LayerNorm the deviation is tiny."""


@dataclass(frozen=True, slots=True, eq=False)
class Outliers:
    """Tokens that stand out."""

    median: float
    """Median norm of all tokens."""
    threshold: float
    """Norm above which a token is an outlier: the larger of median + 6 robust deviations and twice the median."""
    share: float
    """Share of the tokens that are outliers, in [0, 1]."""
    ratio: float
    """Mean norm of the outliers over the median; NaN without outliers."""
    energy: float
    """Share of the sum of all squared norms that outliers carry, in [0, 1]."""
    rate: Float[Tensor, "H W"]
    """Share of the maps in which each patch is an outlier."""

    @property
    def places(self) -> Bool[Tensor, "H W"]:
        """Patches that are outliers in at least half of the maps."""
        return self.rate >= 0.5

    @property
    def fixed(self) -> float:
        """Share of the outliers that are on `places`; NaN without outliers.

        Near 1 if they depend on the position, near 0 if they depend on the image.
        """
        return float(self.rate[self.places].sum() / self.rate.sum()) if self.share > 0 else float("nan")


class OutlierNorms:
    """Collects the norms of all tokens and finds outliers by a robust rule.

    Darcet et al., "Vision Transformers Need Registers" (2024), choose the threshold by eye between the two modes of the
    norms of DINOv2; this rule fits any ViT. Memory: 4 N H W bytes.
    """

    def __init__(self) -> None:
        self._norms: list[Tensor] = []

    def update(self, maps: FeatureMaps) -> None:
        """Add (B, H, W, C) feature maps."""
        self._norms.append(torch.linalg.vector_norm(maps.detach().float(), dim=-1).cpu())

    @property
    def norms(self) -> Float[Tensor, "N H W"]:
        """The norms of all tokens."""
        return torch.cat(self._norms)

    @property
    def result(self) -> Outliers:
        """The tokens that stand out."""
        norms = self.norms
        median = norms.median()
        deviation = 1.4826 * (norms - median).abs().median()
        threshold = torch.maximum(median + ROBUST_DEVIATIONS * deviation, TIMES_MEDIAN * median)
        high = norms > threshold
        energy = norms.double().square()
        return Outliers(
            median=float(median),
            threshold=float(threshold),
            share=float(high.double().mean()),
            ratio=float(norms[high].mean() / median) if bool(high.any()) else float("nan"),
            energy=float(energy[high].sum() / energy.sum().clamp(min=torch.finfo(torch.float32).tiny)),
            rate=high.float().mean(dim=0),
        )
