"""Which features of a ViT are looked at, all from one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from dvt.backbone.backbone import Backbone
from dvt.diagnosis.config import MAX_LAYERS
from dvt.errors import ConfigError
from dvt.grid import PatchGrid
from dvt.shapes import FeatureMaps, ImageBatch


@dataclass(frozen=True, slots=True)
class Layer:
    """One kind of features."""

    block: int
    """Index of the block, counted from 0."""
    normed: bool
    """Whether the final norm is applied: then this is what the ViT gives out."""
    late: bool
    """Whether it is among the last third of the blocks, or the output: what people read."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"block {self.block} + norm" if self.normed else f"block {self.block}"


@runtime_checkable
class Reader(Protocol):
    """Anything whose layers can be read."""

    @property
    def name(self) -> str:
        """What is examined."""

    @property
    def grid(self) -> PatchGrid:
        """The patches of an image of the size that is looked at."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def layers(self) -> Sequence[Layer]:
        """What `__call__` gives, in its order."""

    def __call__(self, images: ImageBatch) -> Sequence[FeatureMaps]:
        """(B, 3, y, x) pictures to (B, H, W, C) float32 features of every layer."""


class BackboneReader:
    """The blocks of a ViT before the final norm, and its output after it."""

    def __init__(self, backbone: Backbone, blocks: Sequence[int] | None = None):
        """Choose the blocks.

        Args:
            backbone: the ViT; where it applies the final norm, its output is looked at beside its blocks.
            blocks: indices counted from 0, up to the block that the backbone reads; at most `MAX_LAYERS`, evenly
                spread, when left out.

        Raises:
            ConfigError: blocks that are not there.
        """
        last = backbone.layer
        chosen = spread_blocks(last) if blocks is None else sorted(set(blocks))
        if not chosen or not all(0 <= block <= last for block in chosen):
            given = ",".join(map(str, blocks or ()))
            raise ConfigError(f"layers=[{given}]: give blocks from 0 to {last}, as [{last // 2},{last}].")
        self._backbone, self._blocks = backbone, chosen
        num_blocks = last + 1
        # Where a reader asks for early blocks alone, these are what is to be judged.
        border = min(2 * num_blocks / 3, chosen[-1])
        self.layers = [Layer(block=block, normed=False, late=block >= border) for block in chosen]
        if backbone.norm:
            self.layers.append(Layer(block=last, normed=True, late=True))

    @property
    def name(self) -> str:
        """The name of the ViT in timm."""
        return self._backbone.timm_name

    @property
    def grid(self) -> PatchGrid:
        """The patches of an image of the default size."""
        return self._backbone.grid

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._backbone.device

    @torch.no_grad()
    def __call__(self, images: ImageBatch) -> Sequence[FeatureMaps]:
        """Features of every layer, in float32."""
        output, blocks = self._backbone.read_layers(images, self._blocks)
        maps = [part.float() for part in blocks.chunk(len(self._blocks), dim=-1)]
        return [*maps, output.patches.float()] if self._backbone.norm else maps


def spread_blocks(last: int) -> list[int]:
    """At most `MAX_LAYERS` of the blocks 0 to `last`, evenly spread."""
    count = min(MAX_LAYERS, last + 1)
    return sorted({last - round(step * (last + 1) / count) for step in range(count)})
