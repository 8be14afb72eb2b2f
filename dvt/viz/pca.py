"""Principal components as colours, in one basis for all maps that are compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from dvt.errors import DvtError
from dvt.shapes import FeatureMap
from dvt.viz.check import MapOfAnySize, require_map, require_maps

_FLOOR = 1e-5
"""Narrowest colour range, as a share of the features' root mean square; below it differences are rounding."""


@dataclass(frozen=True, eq=False)
class PCABasis:
    """Directions of feature space and the range of each that runs from no colour to full colour.

    Fit it once to all maps that are compared: a colour then means the same in each of them.
    """

    mean: Float64[Tensor, " C"]
    """Mean of all vectors fitted."""
    components: Float64[Tensor, "K C"]
    """Orthonormal directions, strongest first, the largest loading of each positive; zero where there are no more."""
    low: Float64[Tensor, " K"]
    """Projection that is painted 0."""
    high: Float64[Tensor, " K"]
    """Projection that is painted 1; greater than `low`."""

    @classmethod
    def fit(cls, feature_maps: Sequence[MapOfAnySize], num_components: int = 3) -> "PCABasis":
        """Fit one basis to all vectors of all maps.

        The colour range of a component goes from the 1st to the 99th percentile of its projections, so that a few
        outliers do not take the colours from the rest; they are clipped. Double precision on the CPU.

        Args:
            feature_maps: (H, W, C) each; H and W may differ, C may not.
            num_components: 3 for colours.

        Raises:
            DvtError: no maps, different C, or a map that is not finite.
        """
        require_maps(feature_maps)
        tokens = torch.cat([_tokens(feature_map) for feature_map in feature_maps])
        mean = tokens.mean(dim=0)
        centred = tokens - mean
        components = _directions(centred, num_components)
        projections = (centred @ components.T).numpy()
        low, high = (torch.from_numpy(np.percentile(projections, q, axis=0)) for q in (1, 99))
        floor = max(_FLOOR * tokens.square().mean().sqrt().item(), torch.finfo(torch.float32).tiny)
        too_little = (floor - (high - low)).clamp(min=0) / 2
        return cls(mean, components, low - too_little, high + too_little)

    def colours(self, feature_map: FeatureMap) -> Float[Tensor, "H W K"]:
        """Paint a map: (H, W, num_components) float32 in [0, 1] on the CPU; a constant map is mid-grey.

        Raises:
            DvtError: not finite, or other channels than the basis.
        """
        return self._paint(feature_map, origin=self.mean, grey=(self.low + self.high) / 2)

    def deviation_colours(
        self, deviation: FeatureMap, origin: Float[Tensor, " C"] | None = None
    ) -> Float[Tensor, "H W K"]:
        """Paint differences of features: same directions and same scale as `colours`, mid-grey where there is none.

        Args:
            deviation: (H, W, C) differences.
            origin: what counts as no difference; zero when left out.

        Raises:
            DvtError: not finite, or other channels than the basis.
        """
        zero = torch.zeros_like(self.mean)
        return self._paint(deviation, zero if origin is None else origin.to(zero), torch.zeros_like(self.low))

    def _paint(self, feature_map: Tensor, origin: Tensor, grey: Tensor) -> Tensor:
        require_map(feature_map, "the feature map")
        if feature_map.shape[-1] != len(self.mean):
            raise DvtError(
                f"the feature map has {feature_map.shape[-1]} channels, the colours were fitted to {len(self.mean)}."
                " Fit them to maps of the same features."
            )
        projections = (_tokens(feature_map) - origin) @ self.components.T
        colours = (projections - grey) / (self.high - self.low) + 0.5
        return colours.clamp(0, 1).float().reshape(*feature_map.shape[:2], -1)


def _tokens(feature_map: Tensor) -> Float64[Tensor, "N C"]:
    return feature_map.detach().cpu().double().flatten(0, 1)


def _directions(centred: Float64[Tensor, "N C"], num_components: int) -> Float64[Tensor, "K C"]:
    """Eigenvectors of the covariance, strongest first; an eigenvector's sign is arbitrary, ours is fixed."""
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    found = vectors.T.flip(0)[:num_components]
    largest = found.gather(1, found.abs().argmax(dim=1, keepdim=True))
    components = centred.new_zeros(num_components, centred.shape[1])
    components[: len(found)] = found * largest.sign()
    return components
