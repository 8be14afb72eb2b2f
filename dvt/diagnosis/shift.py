"""Shift equivariance: do tokens stay the same when the window moves over the image?"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dvt.diagnosis.position import LockedPattern
from dvt.runtime import sum_dtype
from dvt.shapes import FeatureMaps, Float


class ShiftError:
    """How much tokens on the same content differ between two windows of an image that are some patches apart.

    What belongs to the image moves with it, and so does the layout of photographs. What belongs to the position on the
    patch grid does not move. The rest of the error comes from the context of each window; `locked` excludes it. Sums
    are kept in float64, on the device of the maps.
    """

    def __init__(self) -> None:
        self._pairs = self._tokens = 0
        self._cosine = self._error = self._squares = 0.0
        self._sum: Tensor | float = 0.0
        self._error_map: Tensor | None = None
        self._count_map: Tensor | None = None
        self._differences: dict[tuple[int, int], LockedPattern] = {}
        """The difference maps of each shift."""

    def update(self, first: FeatureMaps, second: FeatureMaps, shift: tuple[int, int], images: Sequence[int]) -> None:
        """Add pairs of windows.

        Args:
            first: (B, H, W, C) features of the first window of each pair.
            second: (B, H, W, C) features of the second window.
            shift: patches from the first window down and right to the second; may be negative but not (0, 0), and
                leaves an overlap. Token (r + down, c + right) of the first has the content of (r, c) of the second.
            images: number of the image of each pair; even and odd ones are the two halves for `locked`.
        """
        assert shift != (0, 0) and len(first) == len(second) == len(images)
        here, there = zip(*(_overlap(*each) for each in zip(first.shape[1:3], shift, strict=True)), strict=True)
        dtype = sum_dtype(first.device)
        one, other = (maps[:, box[0], box[1]].detach().to(dtype) for maps, box in ((first, here), (second, there)))
        difference = one - other
        errors = difference.square().sum(dim=-1)
        self._error += float(errors.sum())
        self._cosine += float((1 - torch.cosine_similarity(one, other, dim=-1)).sum())
        self._pairs += errors.numel()
        for part in (one, other):
            self._sum = self._sum + part.sum(dim=(0, 1, 2))
            self._squares += float(part.square().sum())
            self._tokens += part[..., 0].numel()
        if self._error_map is None or self._count_map is None:
            self._error_map, self._count_map = (errors.new_zeros(first.shape[1:3]) for _ in range(2))
        for box in (here, there):
            self._error_map[box] += errors.sum(dim=0)
            self._count_map[box] += len(errors)
        self._differences.setdefault(shift, LockedPattern()).update(difference, images)

    @property
    def value(self) -> float:
        """Mean squared difference over twice the variance of tokens; NaN if all tokens are the same.

        0 for equivariant features, 1 if the two tokens have no more in common than any two.
        """
        return self._error / self._pairs / (2 * self._variance) if self._variance > 0 else math.nan

    @property
    def cosine(self) -> float:
        """Mean of 1 - cosine of the two tokens, in [0, 2]."""
        return self._cosine / self._pairs

    @property
    def map(self) -> Float[Tensor, "H W"]:
        """`value` at each patch of the grid, over the pairs that have a token there; NaN without such pairs."""
        assert self._error_map is not None and self._count_map is not None, "at least one pair was added"
        mean = self._error_map / self._count_map
        return (mean / (2 * self._variance) if self._variance > 0 else mean * math.nan).cpu().float()

    @property
    def locked(self) -> float:
        """Share of the squared difference that is the same in all images, in [0, 1], and so belongs to the position.

        From two halves of the images, as in `LockedPattern`: it may be slightly negative. NaN if a half has no image
        for any shift, or there is no error.
        """
        common, shared, pairs = 0.0, 0, 0
        for even, odd in (pattern.halves for pattern in self._differences.values()):
            count = even.num_maps + odd.num_maps
            pairs += count
            if even.num_maps and odd.num_maps:
                common += float((even.mean_map * odd.mean_map).sum()) * count
                shared += count
        if not shared or self._error == 0:
            return math.nan
        return common / shared / (self._pairs / pairs) / (self._error / self._pairs)

    @property
    def _variance(self) -> float:
        mean = self._sum / self._tokens
        assert isinstance(mean, Tensor), "at least one pair was added"
        rounding = 1e-12 * self._squares / self._tokens
        variance = self._squares / self._tokens - float(mean.square().sum())
        return variance if variance > rounding else 0.0


def _overlap(size: int, shift: int) -> tuple[slice, slice]:
    """The part of the first window that the second shows, and the part of the second that the first shows."""
    assert abs(shift) < size, (shift, size)
    if shift >= 0:
        return slice(shift, size), slice(0, size - shift)
    return slice(0, size + shift), slice(-shift, size)
