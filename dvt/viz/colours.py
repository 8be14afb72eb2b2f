"""Feature maps, numbers and labels as colours. One PCA basis serves all maps that are compared."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dvt.errors import DvtError
from dvt.shapes import FeatureMap, Float, Float64, Int64
from dvt.viz.maps import MapOfAnySize, require_map, require_maps

_FLOOR = 1e-5
"""Smallest colour range, as a share of the features' root mean square; smaller differences are rounding errors."""
INK, PALE = "#181818", "#b8b8b8"
"""Text and axes of plots, and what lies behind their points."""
SERIES_COLOURS = ("#5c5c5c", "#a85400", "#1f6fb2", "#1b7f4d", "#8e3f86")
"""Series of plots. Dark on white, and different without red and green; each series has a marker of its own as well."""


@dataclass(frozen=True, eq=False)
class PCABasis:
    """Principal directions of feature space, each with the range of projections that is mapped to colours 0 to 1.

    Fit one basis to all maps that are compared: a colour then means the same in each map.

    Example:
        >>> maps = torch.rand(2, 14, 14, 192, generator=torch.Generator().manual_seed(0))
        >>> PCABasis.fit(list(maps)).colours(maps[0]).shape
        torch.Size([14, 14, 3])
    """

    mean: Float64[Tensor, " C"]
    """Mean of all fitted vectors."""
    components: Float64[Tensor, "K C"]
    """Orthonormal directions by decreasing variance; the largest loading of each is positive; missing ones are zero."""
    low: Float64[Tensor, " K"]
    """Projection that gets colour 0."""
    high: Float64[Tensor, " K"]
    """Projection that gets colour 1; greater than `low`."""

    @classmethod
    def fit(cls, feature_maps: Sequence[MapOfAnySize], num_components: int = 3) -> "PCABasis":
        """Fit one basis to all vectors of all maps.

        The colour range of a component is the 1st to 99th percentile of its projections. Outliers are clipped, so they
        do not compress the other colours. Computed in float64 on the CPU.

        Args:
            feature_maps: (H, W, C) each; H and W may differ, C must not.
            num_components: number of directions; 3 for RGB.

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
        """Colours of a map: (H, W, num_components) float32 in [0, 1] on the CPU; a constant map is mid-grey.

        Raises:
            DvtError: not finite, or another number of channels than the basis.
        """
        return self._paint(feature_map, origin=self.mean, grey=(self.low + self.high) / 2)

    def deviation_colours(
        self, deviation: FeatureMap, origin: Float[Tensor, " C"] | None = None
    ) -> Float[Tensor, "H W K"]:
        """Colours of feature differences, in the same directions and scale as `colours`; no difference is mid-grey.

        Args:
            deviation: (H, W, C) differences.
            origin: the vector that counts as no difference; default: zero.

        Raises:
            DvtError: not finite, or another number of channels than the basis.
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


def colourise(
    values: Float[Tensor, "H W"], low: float, high: float, colormap: str = "inferno"
) -> Float[Tensor, "H W 3"]:
    """Colours of numbers, by a colour map of matplotlib.

    Args:
        values: (H, W), finite.
        low: lower values get the first colour.
        high: higher values get the last colour. If it equals `low`, all values get the middle colour.
        colormap: name of a colour map of matplotlib.

    Returns:
        (H, W, 3) float32 in [0, 1] on the CPU.

    Raises:
        DvtError: values that are not finite, low > high, or an unknown colour map.
    """
    from matplotlib import colormaps

    if not values.isfinite().all():
        raise DvtError("the values to paint are not all finite. Check how they are computed.")
    if not low <= high:
        raise DvtError(f"the colour range goes from {low:g} to {high:g}. Give low <= high.")
    if colormap not in colormaps:
        near = difflib.get_close_matches(colormap, list(colormaps)) or ["inferno", "viridis", "coolwarm"]
        raise DvtError(f"matplotlib has no colour map {colormap!r}. Did you mean {', '.join(near)}?")
    values = values.detach().cpu().double()
    share = (values - low) / (high - low) if high > low else torch.full_like(values, 0.5)
    return torch.from_numpy(colormaps[colormap](share.numpy())[..., :3]).float()


LABEL_COLOURS = (
    "#332288", "#ddcc77", "#44aa99", "#cc6677", "#88ccee", "#117733", "#aa4499", "#999933", "#882255", "#dddddd",
)  # fmt: skip
"""Colours of labels, such as those of clusters: the "muted" scheme of Paul Tol, distinct for colour-blind readers."""


def colourise_labels(labels: Int64[Tensor, "H W"]) -> Float[Tensor, "H W 3"]:
    """Colours of labels 0 to 9; the colour of a label does not depend on the other labels.

    Returns:
        (H, W, 3) float32 in [0, 1] on the CPU.

    Raises:
        DvtError: a label below 0 or above 9; more colours are hard to distinguish.
    """
    palette = torch.tensor([list(bytes.fromhex(colour[1:])) for colour in LABEL_COLOURS]) / 255
    if labels.min() < 0 or labels.max() >= len(palette):
        raise DvtError(
            f"labels go from {labels.min()} to {labels.max()}; there are colours for 0 to {len(palette) - 1}."
            " Use fewer clusters."
        )
    return palette[labels.cpu()]


def _tokens(feature_map: Tensor) -> Float64[Tensor, "N C"]:
    return feature_map.detach().cpu().double().flatten(0, 1)


def _directions(centred: Float64[Tensor, "N C"], num_components: int) -> Float64[Tensor, "K C"]:
    """Eigenvectors of the covariance by decreasing eigenvalue, with a fixed sign."""
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    found = vectors.T.flip(0)[:num_components]
    largest = found.gather(1, found.abs().argmax(dim=1, keepdim=True))
    components = centred.new_zeros(num_components, centred.shape[1])
    components[: len(found)] = found * largest.sign()
    return components
