"""Backbone: a frozen ViT that turns pictures into features."""

from collections.abc import Sequence
from typing import Any

import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from dvt.backbone.build import Vit, full_name
from dvt.backbone.features import Features
from dvt.backbone.readout import Readout
from dvt.backbone.stride import set_stride
from dvt.errors import BackboneError
from dvt.grid import PatchGrid
from dvt.images.resize import resize
from dvt.runtime import Precision
from dvt.shapes import FeatureMaps, ImageBatch, ImageTensor, ResizedImage
from dvt.spec import FeatureSpec


class Backbone(nn.Module):
    """A frozen ViT: `backbone(images) -> Features`.

    It always takes RGB in [0, 1] that is not normalised, and normalises by itself with the statistics that the model
    was trained with. It is in evaluation mode for good and computes no gradients.

    Attributes:
        name: what it was loaded as: a catalogue name or a timm name.
        timm_name: architecture and tag in timm.
        layer: index of the block whose output is taken, counted from 0.
        norm: whether the final norm is applied to it.
        grid: patches of an image of the default size.
        num_channels: C.
        num_prefix_tokens: P, class and register tokens.
        mean: (3, 1, 1) float32, subtracted from the colours.
        std: (3, 1, 1) float32, divides them afterwards.
        weights_hash: sha256 that identifies the weights.
        precision: number format of the forward pass and of the features.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, vit: Vit, readout: Readout, *, name: str, weights_hash: str, precision: Precision):
        """Freeze a ViT.

        Args:
            vit: the ViT with its weights; it is changed (stride, number format) and must not be used elsewhere.
            readout: which of its tokens are taken.
            name: what to call it.
            weights_hash: hash of the weights.
            precision: the number format to convert it to.

        Raises:
            BackboneError: a dense stride that this ViT cannot have.
        """
        super().__init__()
        set_stride(vit, readout.grid.stride)
        self.name = name
        self.timm_name = full_name(vit)
        self.layer, self.norm, self.grid = readout.layer, readout.norm, readout.grid
        self.num_channels = vit.embed_dim
        self.num_prefix_tokens = vit.num_prefix_tokens
        self.weights_hash = weights_hash
        self.precision = precision
        self.vit = vit.to(precision.dtype).requires_grad_(False)
        statistics: dict[str, Any] = resolve_model_data_config(vit)  # type: ignore[no-untyped-call]
        self.register_buffer("mean", torch.tensor(statistics["mean"]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(statistics["std"]).view(3, 1, 1), persistent=False)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.mean.device

    @property
    def spec(self) -> FeatureSpec:
        """Which features these are."""
        return FeatureSpec(
            backbone=self.timm_name,
            weights_hash=self.weights_hash,
            layer=self.layer,
            norm=self.norm,
            grid=self.grid,
            channels=self.num_channels,
        )

    def train(self, mode: bool = True) -> "Backbone":
        """Stay in evaluation mode: a frozen ViT has no other."""
        return super().train(False)

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of an image of that height and width.

        Raises:
            GeometryError: the size does not fit patch and stride.
        """
        return PatchGrid.of(image_hw, self.grid.patch, self.grid.stride)

    @torch.no_grad()
    def forward(self, images: ImageBatch) -> Features:
        """The features of a batch of images of one size; arguments and errors as `read`."""
        return self.read(images)

    def read(self, images: ImageBatch) -> Features:
        """The features of a batch of images of one size; gradients reach those parameters of the ViT that ask for them.

        A frozen ViT has none: this is for copies that are trained.

        Args:
            images: (B, 3, y, x) RGB in [0, 1], not normalised, floating point, on any device; any size and aspect that
                fits patch and stride.

        Returns:
            Features on the backbone's device, in float32 with precision fp32, else in that half precision.

        Raises:
            BackboneError: not a batch of RGB images.
            GeometryError: the size does not fit patch and stride.
        """
        return self.read_layers(images, ())[0]

    def read_layers(self, images: ImageBatch, layers: Sequence[int]) -> tuple[Features, FeatureMaps]:
        """The features of a batch of images, and those of other blocks from the same forward pass.

        Args:
            images: as for `read`.
            layers: indices of blocks up to the backbone's own, counted from 0, ascending; they are taken without the
                final norm.

        Returns:
            The features, and (B, H, W, len(layers) C) the patches of those blocks, one after the other.

        Raises:
            BackboneError: not a batch of RGB images.
            GeometryError: the size does not fit patch and stride.
        """
        assert all(0 <= layer <= self.layer for layer in layers) and list(layers) == sorted(set(layers)), layers
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise BackboneError(
                f"expected images of shape (B, 3, height, width), floating point in [0, 1]; got {tuple(images.shape)}"
                f" {images.dtype}. Make a batch of one with image[None]."
            )
        grid = self.grid_for((images.shape[2], images.shape[3]))
        normalised = (images.to(self.device, torch.float32) - self.mean) / self.std
        taken: Any = self.vit.forward_intermediates(
            normalised.to(self.precision.dtype),
            indices=sorted({*layers, self.layer}),
            norm=False,  # it would apply to all; tokens are normed one by one, so it can be done here as well
            stop_early=True,
            output_fmt="NLC",  # its image layout counts patches without the stride
            intermediates_only=True,
            return_prefix_tokens=self.num_prefix_tokens > 0,  # Eva fails where there are none to return
        )
        pairs = taken if self.num_prefix_tokens else [(patches, patches[:, :0]) for patches in taken]
        others, (patches, prefix) = pairs[: len(layers)], pairs[-1]
        if self.norm:
            patches, prefix = self.vit.norm(patches), self.vit.norm(prefix)
        features = Features(patches=patches.unflatten(1, grid.hw), prefix=prefix, grid=grid)
        empty = features.patches[..., :0]
        return features, torch.cat([empty, *(each.unflatten(1, grid.hw) for each, _ in others)], dim=-1)

    def preprocess(self, image: ImageTensor) -> ResizedImage:
        """Bring a picture to the default image size.

        Args:
            image: (3, y, x) RGB in [0, 1], of any size and aspect.

        Returns:
            (3, height, width) at the size of `grid`, squashed by bicubic, antialiased interpolation, not normalised.
            The interpolation may step a little outside [0, 1]; nothing is clipped. A picture of the right size comes
            back as it is.
        """
        return resize(image, self.grid.image_hw)
