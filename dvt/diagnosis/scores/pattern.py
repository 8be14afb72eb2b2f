"""The pattern that is the same in all pictures, without the chance part of it; and how coarse it is."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dvt.diagnosis.scores.position import PositionShare
from dvt.shapes import FeatureMap, FeatureMaps

LOWEST = 2.0
"""Radius in the plane of frequencies up to which they count as low: half a wave over the grid is 1, a whole one 2."""


class LockedPattern:
    """What two halves of the pictures have in common: the position-locked part of feature maps.

    The mean map G of n pictures holds chance, about 1 / n of the variance. The product of the mean maps of two halves
    holds none, on average: where there is no pattern, these numbers lie around zero, and may fall a little below it.
    """

    def __init__(self) -> None:
        self._halves = (PositionShare(), PositionShare())
        self._whole = PositionShare()

    def update(self, maps: FeatureMaps, pictures: Sequence[int]) -> None:
        """Add feature maps.

        Args:
            maps: (B, H, W, C).
            pictures: number of the picture that each map is of; even numbers make up one half, odd ones the other.
        """
        odd = torch.tensor([number % 2 == 1 for number in pictures], device=maps.device)
        for half, members in zip(self._halves, (~odd, odd), strict=True):
            if bool(members.any()):
                half.update(maps[members])
        self._whole.update(maps)

    @property
    def share(self) -> float:
        """Share of the variance that position explains."""
        return float(self.map.mean())

    @property
    def map(self) -> Float[Tensor, "H W"]:
        """What position explains at each patch, in units of the mean variance of a token; its mean is `share`."""
        first, second = self._centred(self._everywhere)
        return ((first * second).sum(dim=-1) / self._whole.variance(self._everywhere)).cpu().float()

    @property
    def low_frequency(self) -> float:
        """Share of the pattern's energy in the lowest frequencies, in [0, 1]; NaN where there is no pattern."""
        return self.low_frequency_over(self._everywhere)

    def share_over(self, patches: Bool[Tensor, "H W"]) -> float:
        """`share`, of these patches alone; at least one is true."""
        first, second = self._centred(patches)
        energy = (first * second).sum() / patches.sum()
        return float(energy / self._whole.variance(patches.to(energy.device)))

    def low_frequency_over(self, patches: Bool[Tensor, "H W"]) -> float:
        """`low_frequency`, with the other patches set to the mean of these."""
        energy = frequency_energy(*self._centred(patches))
        total = float(energy.sum())
        if total <= 0:
            return math.nan
        return min(1.0, max(0.0, float(energy[low_frequencies(energy)].sum()) / total))

    @property
    def _everywhere(self) -> Bool[Tensor, "H W"]:
        return torch.ones(self._whole.mean_map.shape[:2], dtype=torch.bool, device=self._whole.mean_map.device)

    def _centred(self, patches: Bool[Tensor, "H W"]) -> tuple[FeatureMap, FeatureMap]:
        """The mean maps of the halves about their mean over these patches; zero elsewhere."""
        centred = []
        for half in self._halves:
            mean_map = half.mean_map
            inside = patches.to(mean_map.device)
            centred.append((mean_map - mean_map[inside].mean(dim=0)) * inside[..., None])
        return centred[0], centred[1]


def frequency_energy(first: FeatureMap, second: FeatureMap) -> Float[Tensor, "H W"]:
    """What two maps have in common in each frequency of the cosine transform, which fits ramps as a Fourier one cannot.

    Entry (v, u) is that of v half waves over the rows and u over the columns; the sum of all is the sum of
    `first * second`.
    """
    rows, columns = (_cosines(size).to(first) for size in first.shape[:2])
    spectra = [torch.einsum("vr,rcf,uc->vuf", rows, one, columns) for one in (first, second)]
    return (spectra[0] * spectra[1]).sum(dim=-1)


def low_frequencies(energy: Float[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """Which frequencies count as low: no more than `LOWEST` half waves, in any direction."""
    v, u = (torch.arange(size, device=energy.device).square() for size in energy.shape)
    return v[:, None] + u[None] <= LOWEST**2


def _cosines(size: int) -> Float[Tensor, "size size"]:
    """The orthonormal cosine transform (DCT-II) as a matrix: a row for each frequency."""
    frequency, place = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64) + 0.5
    waves = torch.cos(torch.pi * frequency * place / size) * math.sqrt(2 / size)
    waves[0] /= math.sqrt(2)
    return waves
