"""Which layers of a ViT are measured, and their features from one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from dvt.backbone.backbone import Backbone
from dvt.backbone.features import not_a_model
from dvt.backbone.wrapped import WrappedBackbone
from dvt.diagnosis.config import MAX_LAYERS
from dvt.errors import ConfigError
from dvt.grid import PatchGrid
from dvt.shapes import FeatureMaps, ImageBatch


@dataclass(frozen=True, slots=True)
class Layer:
    """One kind of features of a ViT."""

    block: int
    """Index of the block, counted from 0."""
    normed: bool
    """Whether the final norm is applied: then this is the output of the ViT."""
    late: bool
    """Whether it is judged: the last third of the blocks, and the output."""

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"block {self.block} + norm" if self.normed else f"block {self.block}"


@runtime_checkable
class LayerFeatures(Protocol):
    """A model that gives the features of several layers."""

    @property
    def name(self) -> str:
        """Name of the model."""

    @property
    def grid(self) -> PatchGrid:
        """Patches of the images that it gets."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers that `__call__` returns, in the same order."""

    def __call__(self, images: ImageBatch) -> Sequence[FeatureMaps]:
        """(B, 3, y, x) images of the size of `grid` to the (B, H, W, C) float32 features of every layer."""


class BackboneLayers:
    """The blocks of a ViT before the final norm, and its output after it.

    Args:
        backbone: the ViT; if it applies the final norm, its output is a layer of its own.
        blocks: indices counted from 0, up to the block that the backbone reads; default: at most `MAX_LAYERS`, evenly
            spread.

    Raises:
        ConfigError: blocks that do not exist.
    """

    def __init__(self, backbone: Backbone, blocks: Sequence[int] | None = None):
        last = backbone.layer
        chosen = spread_blocks(last) if blocks is None else sorted(set(blocks))
        if not chosen or not all(0 <= block <= last for block in chosen):
            given = ",".join(map(str, blocks or ()))
            raise ConfigError(f"layers=[{given}]: give blocks from 0 to {last}, as [{last // 2},{last}].")
        self._backbone, self._blocks = backbone, chosen
        self.name, self.grid, self.device = backbone.full_name, backbone.grid, backbone.device
        border = min(2 * (last + 1) / 3, chosen[-1])  # of early blocks alone, the last one is judged
        self.layers = [Layer(block=block, normed=False, late=block >= border) for block in chosen]
        if backbone.norm:
            self.layers.append(Layer(block=last, normed=True, late=True))

    @torch.no_grad()
    def __call__(self, images: ImageBatch) -> Sequence[FeatureMaps]:
        """Features of every layer, in float32."""
        *blocks, output = self._backbone.forward_layers(images, self._blocks)
        maps = [features.patches for features in blocks]
        if self._backbone.norm:
            maps.append(output.patches.chunk(len(self._backbone.layers), dim=-1)[-1])  # of several layers, the last
        return [each.float() for each in maps]


class OutputAlone:
    """The output of a denoised ViT, or of another one that is wrapped; its blocks are those of the ViT inside."""

    def __init__(self, model: WrappedBackbone):
        self._model = model
        self.name, self.grid, self.device = model.full_name, model.grid, model.device
        self.layers = [Layer(block=model.layer, normed=model.norm, late=True)]

    @torch.no_grad()
    def __call__(self, images: ImageBatch) -> Sequence[FeatureMaps]:
        """Features of the output, in float32."""
        return [self._model(images).patches.float()]


def layers_of(model: Backbone | WrappedBackbone, blocks: Sequence[int] | None = None) -> LayerFeatures:
    """The layers of a ViT that are measured: all of `BackboneLayers`, or the output of a denoised one.

    Raises:
        ConfigError: blocks that do not exist, or any of a denoised ViT.
        BackboneError: `model` is no backbone.
    """
    if isinstance(model, Backbone):
        return BackboneLayers(model, blocks)
    if not isinstance(model, WrappedBackbone):
        raise not_a_model("backbone", model)
    if blocks is not None:
        raise ConfigError(f"layers=[{','.join(map(str, blocks))}]: of {model.name} the output alone is measured.")
    return OutputAlone(model)


def spread_blocks(last: int) -> list[int]:
    """At most `MAX_LAYERS` of the blocks 0 to `last`, evenly spread, the last one included."""
    count = min(MAX_LAYERS, last + 1)
    return sorted({last - round(step * (last + 1) / count) for step in range(count)})
