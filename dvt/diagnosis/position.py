"""The share of variance that position explains, and the pattern that is the same in all images."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dvt.runtime import sum_dtype
from dvt.shapes import Bool, FeatureMap, FeatureMaps, Float

LOWEST = 2.0
"""Largest frequency that counts as low, in half waves over the grid: half a wave is 1, a whole one 2."""


class PositionShare:
    """Share of the variance of feature maps that their mean map explains, in [0, 1].

    Features without artifact have no such share, except for the layout that photographs have in common (sky above,
    ground below). Maps are added in any number of batches. Sums are kept in float64, on the device of the maps.

    Examples:
        >>> share = PositionShare()
        >>> share.update(torch.arange(12.0).reshape(1, 2, 2, 3).expand(5, -1, -1, -1))
        >>> share.value
        1.0
    """

    def __init__(self) -> None:
        self.num_maps = 0
        self._sum: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def update(self, maps: FeatureMaps) -> None:
        """Add (B, H, W, C) feature maps, all of one shape."""
        exact = maps.detach().to(sum_dtype(maps.device))
        self._sum = self._sum + exact.sum(dim=0)
        self._squares = self._squares + exact.square().sum(dim=(0, 3))
        self.num_maps += len(maps)

    def __add__(self, other: "PositionShare") -> "PositionShare":
        """The share of the maps of both."""
        both = PositionShare()
        both.num_maps = self.num_maps + other.num_maps
        both._sum, both._squares = self._sum + other._sum, self._squares + other._squares
        return both

    @property
    def mean_map(self) -> FeatureMap:
        """(H, W, C) mean of all maps."""
        assert isinstance(self._sum, Tensor), "at least one map was added"
        return self._sum / self.num_maps

    @property
    def value(self) -> float:
        """The share; about 1 / n for n maps that have nothing in common."""
        means = self.mean_map.flatten(0, 1)
        explained = (means - means.mean(dim=0)).square().sum(dim=-1).mean()
        return float(explained / self.variance(everywhere(self.mean_map)))

    def variance(self, patches: Bool[Tensor, "H W"]) -> Float[Tensor, ""]:
        """Mean squared distance of the tokens of these patches from their mean; above zero."""
        assert isinstance(self._squares, Tensor), "at least one map was added"
        mean = self.mean_map[patches].mean(dim=0)
        variance = self._squares[patches].mean() / self.num_maps - mean.square().sum()
        return variance.clamp(min=torch.finfo(torch.float32).tiny)


class LockedPattern:
    """The part of feature maps that is locked to the position: what two halves of the images have in common.

    The mean map G of n images contains chance, about 1 / n of the variance. The product of the mean maps of two halves
    contains none on average. Where there is no pattern, these numbers are around zero and may be slightly negative.
    """

    def __init__(self) -> None:
        self.halves = (PositionShare(), PositionShare())

    def update(self, maps: FeatureMaps, images: Sequence[int]) -> None:
        """Add feature maps.

        Args:
            maps: (B, H, W, C).
            images: number of the image of each map; even numbers are one half, odd ones the other.
        """
        odd = torch.tensor([number % 2 == 1 for number in images], device=maps.device)
        for half, members in zip(self.halves, (~odd, odd), strict=True):
            if bool(members.any()):
                half.update(maps[members])

    @property
    def _all(self) -> PositionShare:
        return self.halves[0] + self.halves[1]

    @property
    def map(self) -> Float[Tensor, "H W"]:
        """What position explains at each patch, in units of the mean variance of a token; its mean is `share()`."""
        both = self._all
        patches = everywhere(both.mean_map)
        first, second = self._centred(patches)
        return ((first * second).sum(dim=-1) / both.variance(patches)).cpu().float()

    def share(self, patches: Bool[Tensor, "H W"] | None = None) -> float:
        """Share of the variance of these patches (default: all) that position explains."""
        both = self._all
        patches = everywhere(both.mean_map) if patches is None else patches
        first, second = self._centred(patches)
        energy = (first * second).sum() / patches.sum()
        return float(energy / both.variance(patches.to(energy.device)))

    def low_frequency(self, patches: Bool[Tensor, "H W"] | None = None) -> float:
        """Share of the energy of the pattern in the lowest frequencies, in [0, 1]; NaN without a pattern.

        Args:
            patches: the others are set to the mean of these; default: all.
        """
        energy = frequency_energy(*self._centred(everywhere(self._all.mean_map) if patches is None else patches))
        total = float(energy.sum())
        if total <= 0:
            return math.nan
        return min(1.0, max(0.0, float(energy[low_frequencies(energy)].sum()) / total))

    def _centred(self, patches: Bool[Tensor, "H W"]) -> tuple[FeatureMap, FeatureMap]:
        """The mean maps of both halves minus their mean over these patches; zero elsewhere."""
        first, second = (
            (half.mean_map - half.mean_map[patches.to(half.mean_map.device)].mean(dim=0))
            * patches.to(half.mean_map.device)[..., None]
            for half in self.halves
        )
        return first, second


def everywhere(feature_map: FeatureMap) -> Bool[Tensor, "H W"]:
    """True at every patch."""
    return torch.ones_like(feature_map[..., 0], dtype=torch.bool)


def frequency_energy(first: FeatureMap, second: FeatureMap) -> Float[Tensor, "H W"]:
    """What two maps have in common in each frequency of the cosine transform (DCT-II).

    Entry (v, u) is that of v half waves over the rows and u over the columns. The sum of all entries is the sum of
    `first * second`. A Fourier transform would see a jump at the edge of a ramp, in all frequencies.
    """
    rows, columns = (_cosines(size).to(first) for size in first.shape[:2])
    spectra = [torch.einsum("vr,rcf,uc->vuf", rows, one, columns) for one in (first, second)]
    return (spectra[0] * spectra[1]).sum(dim=-1)


def low_frequencies(energy: Float[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """Frequencies of at most `LOWEST` half waves in any direction."""
    v, u = (torch.arange(size, device=energy.device).square() for size in energy.shape)
    return v[:, None] + u[None] <= LOWEST**2


def _cosines(size: int) -> Float[Tensor, "size size"]:
    """The orthonormal cosine transform (DCT-II) as a matrix, one row per frequency."""
    frequency, place = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64) + 0.5
    waves = torch.cos(torch.pi * frequency * place / size) * math.sqrt(2 / size)
    waves[0] /= math.sqrt(2)
    return waves
