"""Multiresolution hash grid (Instant-NGP, Müller et al. 2022) in plain PyTorch, with tiny-cuda-nn's conventions.

A position x falls on level l at vertex coordinate `scale_l * x + 0.5`. Levels with few enough vertices are dense;
finer levels share entries by hashing. One table holds all levels. The forward pass is one gather; the backward pass is
one sparse gradient over the rows used. On a CPU an optimizer can replace table lookups (`table_adam.py`), because
writing the whole table costs more than the arithmetic of a step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvt.decomposition.config import HashGridConfig
from dvt.shapes import Float, ImageXY, Int64

_PRIME = 2_654_435_761 - 2**32
"""Multiplier of y in Instant-NGP's spatial hash (their eq. 4; x has 1), as a signed 32-bit integer with the same
overflow. Takes a third of the 64-bit time on a CPU."""


@dataclass(frozen=True, slots=True)
class Level:
    """One grid of the pyramid."""

    scale: float
    """Cells per unit of `image_xy`."""
    resolution: int
    """Vertices per side, the row length of a dense level."""
    entries: int
    """Table rows of this level."""
    offset: int
    """First table row of this level."""

    @property
    def is_dense(self) -> bool:
        """Whether every vertex has its own entry."""
        return self.resolution**2 <= self.entries


def make_levels(config: HashGridConfig) -> list[Level]:
    """The pyramid from `base_resolution` to `max_resolution`.

    Computed in float32 like tiny-cuda-nn: with the paper's options, rounding gives the finest level 1025 vertices per
    side instead of 1024.
    """
    ratio = config.max_resolution / config.base_resolution
    log2_per_level_scale = torch.tensor(ratio ** (1 / max(config.n_levels - 1, 1))).log2()
    levels, offset = [], 0
    for index in range(config.n_levels):
        scale = torch.exp2(index * log2_per_level_scale) * config.base_resolution - 1
        resolution = int(scale.ceil().item()) + 1
        entries = min(-(-(resolution**2) // 8) * 8, 2**config.log2_hashmap_size)
        levels.append(Level(scale=scale.item(), resolution=resolution, entries=entries, offset=offset))
        offset += entries
    return levels


class HashGrid(nn.Module):
    """Maps positions to features; only the table is trainable.

    Args:
        config: the pyramid.
        rng: generator of the initial table, uniform in +-1e-4.
    """

    def __init__(self, config: HashGridConfig, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self.levels = make_levels(config)
        self.num_features = config.n_levels * config.n_features_per_level
        rows = sum(level.entries for level in self.levels)
        table = torch.empty(rows, config.n_features_per_level).uniform_(-1e-4, 1e-4, generator=rng)
        self.table = nn.Parameter(table)
        for name in ("scale", "resolution", "entries", "offset"):
            number = torch.float32 if name == "scale" else torch.int32
            values = torch.tensor([getattr(level, name) for level in self.levels], dtype=number)
            self.register_buffer(f"level_{name}", values, persistent=False)
        self.reader: Callable[[Tensor, Tensor], Tensor] | None = None
        """Replaces table lookups, given (N, K) rows and weights, while a separate optimizer owns the table."""
        self.register_buffer("is_dense", torch.tensor([lv.is_dense for lv in self.levels]), persistent=False)

    level_scale: Tensor
    level_resolution: Tensor
    level_entries: Tensor
    level_offset: Tensor
    is_dense: Tensor

    def forward(self, image_xy: ImageXY) -> Float[Tensor, "*dims F"]:
        """(..., 2) positions in [0, 1] to (..., n_levels * n_features_per_level) features, coarse levels first."""
        xy = image_xy.reshape(-1, 2)
        rows, weights = self.corners(xy)
        rows, weights = rows.flatten(0, 1), weights.flatten(0, 1)
        if self.reader:
            features = self.reader(rows, weights)
        else:
            weights = weights.to(self.table.dtype)
            features = functional.embedding_bag(rows, self.table, per_sample_weights=weights, mode="sum", sparse=True)
        return features.reshape(*image_xy.shape[:-1], self.num_features)

    def corners(self, xy: Float[Tensor, "N 2"]) -> tuple[Int64[Tensor, "N L 4"], Float[Tensor, "N L 4"]]:
        """Table rows of the four vertices around each position on every level, and their bilinear weights."""
        position = xy[:, None, :] * self.level_scale[:, None] + 0.5  # (N, L, 2)
        low = position.floor()
        x, y = (position - low).unbind(-1)
        weights = torch.stack(((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y), dim=-1)
        steps = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], device=xy.device, dtype=torch.int32)
        vertex_x, vertex_y = (low.int()[:, :, None, :] + steps).unbind(-1)  # (N, L, 4)
        dense = vertex_x + vertex_y * self.level_resolution[:, None]
        hashed = vertex_x ^ (vertex_y * _PRIME)
        index = torch.where(self.is_dense[:, None], dense, hashed) % self.level_entries[:, None]
        return (index + self.level_offset[:, None]).long(), weights
