"""Shift-equivariance: do tokens stay the same when the window moves over the picture?"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dvt.shapes import FeatureMaps


class ShiftError:
    """How much tokens that look at the same content differ between two windows of a picture, some patches apart.

    What belongs to the picture moves with it, a photographer's layout too; what belongs to the position on the patch
    grid does not. The rest of the error comes from what else each window shows: `locked` is the part that does not.
    Sums are kept in float64, on the device of the maps.
    """

    def __init__(self) -> None:
        self._pairs = 0
        self._cosine = self._error = 0.0
        self._tokens = 0
        self._sum: Tensor | float = 0.0
        self._squares = 0.0
        self._error_map: Tensor | None = None
        self._count_map: Tensor | None = None
        self._differences: dict[tuple[int, int], list[Tensor | None]] = {}
        self._numbers: dict[tuple[int, int], list[int]] = {}

    def update(self, first: FeatureMaps, second: FeatureMaps, shift: tuple[int, int], pictures: Sequence[int]) -> None:
        """Add pairs of windows.

        Args:
            first: (B, H, W, C) features of the first window of each pair.
            second: (B, H, W, C) those of the second.
            shift: by how many patches the second lies further down and to the right; may be negative, never zero, and
                leaves an overlap. Token (r + down, c + right) of the first looks at what (r, c) of the second does.
            pictures: number of the picture of each pair; even and odd ones make up the two halves for `locked`.
        """
        assert shift != (0, 0) and len(first) == len(second) == len(pictures)
        kind = torch.float64 if first.device.type != "mps" else torch.float32
        rows, columns = first.shape[1:3]
        (here, there) = zip(_overlap(rows, shift[0]), _overlap(columns, shift[1]), strict=True)
        one, other = (maps[:, box[0], box[1]].detach().to(kind) for maps, box in ((first, here), (second, there)))
        difference = one - other
        errors = difference.square().sum(dim=-1)
        self._error += float(errors.sum())
        self._cosine += float((1 - torch.cosine_similarity(one, other, dim=-1)).sum())
        self._pairs += errors.numel()
        for part in (one, other):
            self._sum = self._sum + part.sum(dim=(0, 1, 2))
            self._squares += float(part.square().sum())
            self._tokens += part[..., 0].numel()
        self._add_map(errors, here, there, (rows, columns))
        self._add_differences(difference, shift, pictures)

    @property
    def value(self) -> float:
        """Mean squared difference over twice the variance of tokens; NaN where all tokens are the same.

        0 for equivariant features, 1 where the two tokens have no more in common than any two.
        """
        return self._error / self._pairs / (2 * self._variance) if self._variance > 0 else math.nan

    @property
    def cosine(self) -> float:
        """Mean of 1 - cosine of the two tokens, in [0, 2]."""
        return self._cosine / self._pairs

    @property
    def map(self) -> Float[Tensor, "H W"]:
        """`value` at each patch of the grid, over the pairs that one of the two tokens is there; NaN where none was."""
        assert self._error_map is not None and self._count_map is not None, "at least one pair was added"
        mean = self._error_map / self._count_map
        return (mean / (2 * self._variance) if self._variance > 0 else mean * math.nan).cpu().float()

    @property
    def locked(self) -> float:
        """Share of the squared difference that is the same in all pictures, in [0, 1], and so belongs to the position.

        From two halves of the pictures, as in `LockedPattern`: it may fall a little below zero. NaN where a half has no
        picture for any shift, or there is no error.
        """
        common, total = 0.0, 0.0
        for shift, halves in self._differences.items():
            counts = self._numbers[shift]
            if halves[0] is None or halves[1] is None:
                continue
            common += float((halves[0] / counts[0] * (halves[1] / counts[1])).sum()) * sum(counts)
            total += sum(counts)
        if not total or self._error == 0:
            return math.nan
        patches = self._pairs / sum(sum(counts) for counts in self._numbers.values())
        return common / total / patches / (self._error / self._pairs)

    @property
    def _variance(self) -> float:
        mean = self._sum / self._tokens
        assert isinstance(mean, Tensor), "at least one pair was added"
        rounding = 1e-12 * self._squares / self._tokens
        variance = self._squares / self._tokens - float(mean.square().sum())
        return variance if variance > rounding else 0.0

    def _add_map(self, errors: Tensor, here: tuple[slice, ...], there: tuple[slice, ...], hw: tuple[int, int]) -> None:
        if self._error_map is None or self._count_map is None:
            self._error_map, self._count_map = errors.new_zeros(hw), errors.new_zeros(hw)
        for box in (here, there):
            self._error_map[box] += errors.sum(dim=0)
            self._count_map[box] += len(errors)

    def _add_differences(self, difference: Tensor, shift: tuple[int, int], pictures: Sequence[int]) -> None:
        sums = self._differences.setdefault(shift, [None, None])
        counts = self._numbers.setdefault(shift, [0, 0])
        for half in (0, 1):
            members = [place for place, number in enumerate(pictures) if number % 2 == half]
            if members:
                added = difference[members].sum(dim=0)
                before = sums[half]
                sums[half] = added if before is None else before + added
                counts[half] += len(members)


def _overlap(size: int, shift: int) -> tuple[slice, slice]:
    """Along one axis, what the first window has in common with the second, and the second with the first."""
    assert abs(shift) < size, (shift, size)
    if shift >= 0:
        return slice(shift, size), slice(0, size - shift)
    return slice(0, size + shift), slice(-shift, size)
