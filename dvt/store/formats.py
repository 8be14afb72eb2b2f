"""Number formats: a feature map to its stored form, and back."""

from dataclasses import dataclass
from math import prod
from typing import Final, TypeAlias

import torch
from torch import Tensor

from dvt.shapes import FeatureMap

_LEVELS: Final = 255
"""Steps between the smallest and the largest value of a channel in 8 bits."""
_RANGE_BYTES: Final = 8
"""Of a channel's smallest value and step, in float32."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Numbers as they are."""

    stored_dtype: torch.dtype
    """Dtype of the stored tensor."""

    @property
    def read_dtype(self) -> torch.dtype:
        """Dtype of the maps that are read."""
        return self.stored_dtype

    def stored_shape(self, shape: tuple[int, int, int]) -> tuple[int, ...]:
        """Shape of the stored tensor, for a map of that shape."""
        return shape

    def encode(self, array: Tensor) -> Tensor:
        """The stored form of an (H, W, C) map: a copy, contiguous, on the CPU."""
        return torch.empty(tuple(array.shape), dtype=self.stored_dtype).copy_(array)

    def decode(self, stored: Tensor, shape: tuple[int, int, int]) -> FeatureMap:
        """The (H, W, C) map of a stored form."""
        return stored


@dataclass(frozen=True, slots=True)
class EightBits:
    """One byte per number: 256 even steps between the smallest and the largest value of each channel of a map.

    Bytes: C float32 smallest values, C float32 steps, then H W C bytes. The error is at most half a step.
    """

    stored_dtype: torch.dtype = torch.uint8
    """Bytes."""
    read_dtype: torch.dtype = torch.float16
    """Dtype of the maps that are read."""

    def stored_shape(self, shape: tuple[int, int, int]) -> tuple[int, ...]:
        """One row of bytes."""
        return (_RANGE_BYTES * shape[2] + prod(shape),)

    def encode(self, array: Tensor) -> Tensor:
        """Ranges and bytes."""
        values = array.detach().to("cpu", torch.float32)
        smallest, largest = values.amin(dim=(0, 1)), values.amax(dim=(0, 1))
        step = (largest - smallest) / _LEVELS
        divisor = step.clamp_min(torch.finfo(step.dtype).tiny)
        levels = torch.empty(tuple(values.shape), dtype=torch.uint8)
        # row by row: stays in the cache
        for into, row in zip(levels, values, strict=True):
            into.copy_((row - smallest).div_(divisor).round_())
        return torch.cat((smallest.view(torch.uint8), step.view(torch.uint8), levels.flatten()))

    def decode(self, stored: Tensor, shape: tuple[int, int, int]) -> FeatureMap:
        """The map."""
        begin = _RANGE_BYTES * shape[2]
        smallest, step = stored[:begin].view(torch.float32).view(2, shape[2])
        values = torch.empty(shape, dtype=self.read_dtype)
        for into, row in zip(values, stored[begin:].view(shape), strict=True):
            into.copy_((row * step).add_(smallest))
        return values


Format: TypeAlias = Plain | EightBits
"""How a store keeps numbers."""

FORMATS: Final[dict[str, Format]] = {
    "float16": Plain(torch.float16),
    "float32": Plain(torch.float32),
    "int8": EightBits(),
}
"""Number formats that a store may have, by name."""
