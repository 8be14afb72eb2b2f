"""WrappedBackbone: a ViT with something around it that changes its features."""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import nn

from dvt.backbone.backbone import Backbone
from dvt.backbone.preprocess import Preprocess
from dvt.grid import PatchGrid
from dvt.runtime import Precision
from dvt.spec import FeatureSpec


class WrappedBackbone(nn.Module):
    """A `FeatureExtractor` with the names, spec and sizes of the ViT inside; a subclass defines `forward`.

    Unlike a `Backbone` it has no `vit`, `mean`, `std` and `forward_layers`: take those of `backbone`. Frozen; stays in
    evaluation mode.

    Attributes:
        weights_hash: identifies all weights, and the settings where there are any.
    """

    suffix: ClassVar[str]
    """Suffix of the names of the ViT."""
    weights_hash: str

    def __init__(self, backbone: Backbone):
        """Wrap a ViT."""
        super().__init__()
        self.backbone = backbone

    @property
    def preprocess(self) -> Preprocess:
        """Brings any image to the default size."""
        return self.backbone.preprocess

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of an image of that height and width.

        Raises:
            GeometryError: the size does not fit patch and stride.
        """
        return self.backbone.grid_for(image_hw)

    def train(self, mode: bool = True) -> "WrappedBackbone":
        """Stay in evaluation mode."""
        return super().train(False)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings beside the weights that its features depend on, as plain JSON."""
        return {}

    @property
    def spec(self) -> FeatureSpec:
        """Which features these are."""
        return replace(self.backbone.spec, backbone=self.full_name, weights_hash=self.weights_hash)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.backbone.device

    @property
    def name(self) -> str:
        """Name of the ViT, with the suffix."""
        return f"{self.backbone.name}{self.suffix}"

    @property
    def full_name(self) -> str:
        """Full name of the ViT, with the suffix."""
        return f"{self.backbone.full_name}{self.suffix}"

    @property
    def grid(self) -> PatchGrid:
        """The patches of an image of the default size."""
        return self.backbone.grid

    @property
    def layer(self) -> int:
        """Index of the block whose output is taken; of several, the last."""
        return self.backbone.layer

    @property
    def layers(self) -> tuple[int, ...]:
        """Indices of the blocks whose outputs are taken."""
        return self.backbone.layers

    @property
    def norm(self) -> bool:
        """Whether the final norm is applied first."""
        return self.backbone.norm

    @property
    def num_channels(self) -> int:
        """C."""
        return self.backbone.num_channels

    @property
    def num_prefix_tokens(self) -> int:
        """P, class and register tokens."""
        return self.backbone.num_prefix_tokens

    @property
    def precision(self) -> Precision:
        """Number format of the forward pass and of the features."""
        return self.backbone.precision
