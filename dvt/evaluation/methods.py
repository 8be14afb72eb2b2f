"""Methods: whatever makes features of pictures, compared side by side by every task."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from dvt.backbone.features import FeatureExtractor, Features
from dvt.errors import BackboneError
from dvt.grid import PatchGrid
from dvt.images.resize import resize
from dvt.shapes import ImageBatch, ImageTensor

Pictures = Sequence[ImageTensor]
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
            Features on the grid of `grid_for(image_hw)`, float32, on the device of the ViT.

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
        read = {"layer": model.layer, "norm": model.norm, "patch": model.grid.patch, "stride": model.grid.stride}
        return {"model": model.timm_name, "weights": model.weights_hash, **read, **self._options}

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of a picture looked at in that size."""
        return self.model.grid_for(image_hw)

    def __call__(self, pictures: Pictures, image_hw: tuple[int, int]) -> Features:
        """Features of pictures, each squashed to `image_hw`."""
        return in_float32(self.model(stack_resized(pictures, image_hw, self.model.device)))


class CloserLook:
    """A method on pictures k times as large, its features averaged back to the grid: how much of a gain is zoom alone.

    It costs what k x k passes cost and more, for attention grows with the square of the number of patches.
    """

    def __init__(self, method: Method, factor: int):
        """Look k times closer.

        Args:
            method: the method.
            factor: k, at least 2.
        """
        assert factor >= 2, factor
        self.name, self._method, self._factor = f"{method.name}@{factor}x", method, factor

    @property
    def num_channels(self) -> int:
        """C."""
        return self._method.num_channels

    @property
    def passes(self) -> int:
        """Counted by pixels."""
        return self._method.passes * self._factor**2

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The method's, and k."""
        return self._method.fingerprint | {"closer": self._factor}

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of a picture looked at in that size: those of the method, from less close."""
        return self._method.grid_for(image_hw)

    def __call__(self, pictures: Pictures, image_hw: tuple[int, int]) -> Features:
        """Features of pictures, each looked at in k times `image_hw`."""
        grid = _without_overlap(self.grid_for(image_hw), self.name)
        large = self._method(pictures, (image_hw[0] * self._factor, image_hw[1] * self._factor))
        return Features(patches=_pooled(large.patches, self._factor), prefix=large.prefix, grid=grid)


class Tiles:
    """A method on the k x k parts of a picture, each at the full size, averaged back to the grid.

    The zoom of `CloserLook` at the size that the ViT was trained for; each part is blind to its neighbours.
    """

    def __init__(self, method: Method, factor: int):
        """Cut into k x k tiles.

        Args:
            method: the method.
            factor: k, at least 2.
        """
        assert factor >= 2, factor
        stem = "tiles" if method.name == "raw" else f"{method.name}-tiles"
        self.name, self._method, self._factor = stem if factor == 2 else f"{stem}@{factor}x", method, factor

    @property
    def num_channels(self) -> int:
        """C."""
        return self._method.num_channels

    @property
    def passes(self) -> int:
        """One a tile."""
        return self._method.passes * self._factor**2

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The method's, and k."""
        return self._method.fingerprint | {"tiles": self._factor}

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of a picture looked at in that size."""
        return self._method.grid_for(image_hw)

    def __call__(self, pictures: Pictures, image_hw: tuple[int, int]) -> Features:
        """Features of pictures; class and register tokens are the mean over the tiles."""
        k, count, (height, width) = self._factor, len(pictures), image_hw
        grid = _without_overlap(self.grid_for(image_hw), self.name)
        tiles = [
            tile
            for picture in pictures
            for row in resize(picture, (height * k, width * k)).chunk(k, dim=1)
            for tile in row.chunk(k, dim=2)
        ]
        features = self._method(tiles, image_hw)
        rows, columns = grid.hw
        parts = features.patches.reshape(count, k, k, rows, columns, -1).permute(0, 1, 3, 2, 4, 5)
        whole = parts.reshape(count, k * rows, k * columns, -1)
        prefix = features.prefix.reshape(count, k * k, *features.prefix.shape[1:]).mean(dim=1)
        return Features(patches=_pooled(whole, k), prefix=prefix, grid=grid)


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


def stack_resized(pictures: Pictures, image_hw: tuple[int, int], device: torch.device) -> ImageBatch:
    """Pictures of any sizes as one batch of one size."""
    return torch.stack([resize(picture.to(device), image_hw) for picture in pictures])


def in_float32(features: Features) -> Features:
    """The same features in float32."""
    return Features(patches=features.patches.float(), prefix=features.prefix.float(), grid=features.grid)


def _pooled(patches: Tensor, factor: int) -> Tensor:
    """(B, kH, kW, C) to (B, H, W, C), the mean of every k x k block."""
    return functional.avg_pool2d(patches.permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1)


def _without_overlap(grid: PatchGrid, name: str) -> PatchGrid:
    if grid.stride != grid.patch:
        raise BackboneError(
            f"{name} averages patches that lie side by side, and backbone.stride={grid.stride} makes patches of"
            f" {grid.patch} px overlap: leave out backbone.stride, or leave out {name}."
        )
    return grid
