"""Methods: whatever makes features of pictures, compared side by side by every task."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from dvt.backbone.features import FeatureExtractor, Features
from dvt.grid import PatchGrid
from dvt.images.resize import resize
from dvt.runtime import Precision
from dvt.shapes import AnySizeImage, ImageBatch, ImageTensor, ResizedBatch

Pictures = Sequence[AnySizeImage]
"""Some pictures, (3, y, x) RGB in [0, 1] each; sizes and aspects may differ."""


@runtime_checkable
class Method(Protocol):
    """Pictures to features, at whatever size a task looks at them."""

    @property
    def name(self) -> str:
        """What it is called in tables: raw, srt, decomposed, raw@2x."""

    @property
    def num_channels(self) -> int:
        """C."""

    @property
    def passes(self) -> int:
        """Its cost: forward passes of the ViT per picture, in passes at the size that the task looks at."""

    @property
    def fingerprint(self) -> dict[str, Any]:
        """All that its features depend on but the picture and the size, as plain JSON."""

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of a picture that is looked at in that height and width.

        Raises:
            GeometryError: the size does not fit patch and stride.
        """

    def __call__(self, pictures: Pictures, image_hw: tuple[int, int]) -> Features:
        """Features of pictures.

        Args:
            pictures: at least one.
            image_hw: height and width in pixels that the ViT sees of each; it is squashed to that.

        Returns:
            Features on the grid of `grid_for(image_hw)`, float32, on the device of the ViT or on the CPU.

        Raises:
            GeometryError: the size does not fit patch and stride.
        """


@runtime_checkable
class Model(FeatureExtractor, Protocol):
    """A backbone, alone or with something around it: what `Backbone` and `DenoisedBackbone` have in common."""

    @property
    def num_channels(self) -> int:
        """C."""

    @property
    def timm_name(self) -> str:
        """Architecture and tag in timm."""

    @property
    def layer(self) -> int:
        """Index of the block that is read."""

    @property
    def norm(self) -> bool:
        """Whether the final norm is applied."""

    @property
    def weights_hash(self) -> str:
        """Hash of all weights."""

    @property
    def precision(self) -> Precision:
        """Number format of the forward pass."""

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of an image of that size."""


class OnePass:
    """Features by a model that takes pictures of one size: the raw ViT, SRT, a denoised or a distilled ViT."""

    def __init__(self, name: str, model: Model, *, passes: int = 1, options: dict[str, Any] | None = None):
        """Wrap a model.

        Args:
            name: what to call it.
            model: the model.
            passes: forward passes of the ViT that one picture costs.
            options: of the model, beyond its weights.
        """
        self.name, self.model, self.passes = name, model, passes
        self._options = options or {}

    @property
    def num_channels(self) -> int:
        """C."""
        return self.model.num_channels

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The model, how it is read, and its options."""
        model = self.model
        return {
            "model": model.timm_name,
            "weights": model.weights_hash,
            "layer": model.layer,
            "norm": model.norm,
            "patch": model.grid.patch,
            "stride": model.grid.stride,
            "precision": str(model.precision),
            **self._options,
        }

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of a picture looked at in that size."""
        return self.model.grid_for(image_hw)

    def __call__(self, pictures: Pictures, image_hw: tuple[int, int]) -> Features:
        """Features of pictures, each squashed to `image_hw`."""
        return in_float32(self.model(stack_resized(pictures, image_hw, self.model.device)))


class AtSize:
    """A model whose default image size is another: what works at the default size works at this one."""

    def __init__(self, model: Model, image_hw: tuple[int, int]):
        """Look at pictures in that size.

        Raises:
            GeometryError: the size does not fit patch and stride.
        """
        self._model, self.grid = model, model.grid_for(image_hw)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._model.device

    def __call__(self, images: ImageBatch) -> Features:
        """The features of the model."""
        return self._model(images)


class PictureByPicture:
    """A method that works out every picture by itself, as stage 1 does; class and register tokens are the raw ones."""

    def __init__(
        self,
        name: str,
        model: Model,
        clean: Callable[[ImageTensor, FeatureExtractor], Tensor],
        *,
        passes: int,
        options: dict[str, Any],
    ):
        """Wrap a function.

        Args:
            name: what to call it.
            model: the ViT.
            clean: a picture and the ViT at the size that is asked for, to (H, W, C).
            passes: forward passes of the ViT that one picture costs.
            options: of the function, as plain JSON.
        """
        self.name, self.passes, self._model, self._clean, self._options = name, passes, model, clean, options

    @property
    def num_channels(self) -> int:
        """C."""
        return self._model.num_channels

    @property
    def fingerprint(self) -> dict[str, Any]:
        """That of the raw features, and the options."""
        return OnePass(self.name, self._model, options=self._options).fingerprint

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of a picture looked at in that size."""
        return self._model.grid_for(image_hw)

    def __call__(self, pictures: Pictures, image_hw: tuple[int, int]) -> Features:
        """Features of pictures."""
        at_size = AtSize(self._model, image_hw)
        raw = in_float32(self._model(stack_resized(pictures, image_hw, self._model.device)))
        clean = torch.stack([self._clean(picture, at_size).to(raw.patches) for picture in pictures])
        return Features(patches=clean, prefix=raw.prefix, grid=raw.grid)


def stack_resized(pictures: Pictures, image_hw: tuple[int, int], device: torch.device) -> ResizedBatch:
    """Pictures of any sizes as one batch of one size."""
    return torch.stack([resize(picture.to(device), image_hw) for picture in pictures])


def in_float32(features: Features) -> Features:
    """The same features in float32."""
    return Features(patches=features.patches.float(), prefix=features.prefix.float(), grid=features.grid)
