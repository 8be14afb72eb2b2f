"""Tokens with a norm far above the others."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dvt.shapes import FeatureMaps

ROBUST_DEVIATIONS = 6.0
"""How many robust standard deviations (1.4826 x median absolute deviation) above the median an outlier lies."""
TIMES_MEDIAN = 2.0
"""How many times the median its norm is at least: after a LayerNorm the deviation is tiny, and nothing stands out."""


@dataclass(frozen=True, slots=True, eq=False)
class Outliers:
    """What was found."""

    median: float
    """Median norm of all tokens."""
    threshold: float
    """Norm above which a token is an outlier: the larger of median + 6 robust deviations and twice the median."""
    share: float
    """Share of the tokens that are outliers, in [0, 1]."""
    ratio: float
    """Mean norm of the outliers over the median; NaN where there are none."""
    energy: float
    """Share of the sum of all squared norms that outliers carry, in [0, 1]."""
    rate: Float[Tensor, "H W"]
    """In which share of the maps each patch is an outlier."""

    @property
    def places(self) -> Bool[Tensor, "H W"]:
        """Patches that are outliers in at least half of the maps."""
        return self.rate >= 0.5

    @property
    def fixed(self) -> float:
        """Share of the outliers that lie on `places`; NaN where there are none.

        Near 1 where position makes them, near 0 where pictures do.
        """
        return float(self.rate[self.places].sum() / self.rate.sum()) if self.share > 0 else float("nan")


class OutlierNorms:
    """Collects the norms of tokens; the rule that says which stand out is robust, so it needs all of them.

    Darcet et al., "Vision Transformers Need Registers" (2024), put the cut by eye between two humps of the norms of
    DINOv2; this is a rule for any ViT. Memory: 4 N H W bytes.
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
        """What stands out."""
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
