"""Method: images to features. Tasks compare methods side by side."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from dvt.backbone.features import FeatureExtractor, Features
from dvt.grid import PatchGrid
from dvt.images.resize import resize
from dvt.runtime import Precision
from dvt.shapes import AnySizeImage, FeatureMap, ResizedBatch
from dvt.spec import FeatureSpec

Images = Sequence[AnySizeImage]
"""Images (3, y, x), RGB in [0, 1]; sizes and aspects may differ."""


@runtime_checkable
class Method(Protocol):
    """Makes features of images, at the image size of a task."""

    @property
    def name(self) -> str:
        """Name in tables: raw, srt, decomposed, raw@2x."""

    @property
    def spec(self) -> FeatureSpec:
        """Which features these are; its grid is that of the default image size."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What the features depend on besides spec, image and image size, as plain JSON."""

    @property
    def cost(self) -> int:
        """Forward passes of the ViT per image, counted at the image size of the task."""

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches at an image size (height, width).

        Raises:
            GeometryError: the size does not fit patch and stride.
        """

    def __call__(self, images: Images, image_hw: tuple[int, int]) -> Features:
        """Features of images.

        Args:
            images: at least one.
            image_hw: height and width in pixels that each image is resized to; aspects are not kept.

        Returns:
            Features on `grid_for(image_hw)`, float32, on the device of the ViT or on the CPU.

        Raises:
            GeometryError: the size does not fit patch and stride.
        """


@runtime_checkable
class Model(FeatureExtractor, Protocol):
    """A ViT that says what its features are: `Backbone`, `DenoisedBackbone`, `SrtBackbone`."""

    @property
    def spec(self) -> FeatureSpec:
        """Which features these are."""

    @property
    def precision(self) -> Precision:
        """Number format of the forward pass."""

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches at an image size (height, width)."""


class OnePass:
    """Features of a model that takes batches of one size: the raw ViT, SRT, a denoised or a distilled ViT.

    Examples:
        >>> import dvt, torch
        >>> raw = OnePass("raw", dvt.load_backbone("vit_micro"))
        >>> raw([torch.rand(3, 80, 100)], (64, 96)).patches.shape
        torch.Size([1, 4, 6, 192])
    """

    def __init__(self, name: str, model: Model, *, cost: int = 1):
        """Wrap `model`, which needs `cost` forward passes of the ViT per image."""
        self.name, self.model, self.cost = name, model, cost

    @property
    def spec(self) -> FeatureSpec:
        """That of the model."""
        return self.model.spec

    @property
    def options(self) -> Mapping[str, Any]:
        """Precision; the settings of a model are in its `weights_hash`."""
        return {"precision": str(self.model.precision)}

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches at an image size (height, width)."""
        return self.model.grid_for(image_hw)

    def __call__(self, images: Images, image_hw: tuple[int, int]) -> Features:
        """Features of images, each resized to `image_hw`."""
        found = self.model(stack_resized(images, image_hw, self.model.device))
        return Features(patches=found.patches.float(), prefix=found.prefix.float(), grid=found.grid)


def maps_of(methods: Sequence[Method], image: AnySizeImage, image_hw: tuple[int, int]) -> dict[str, FeatureMap]:
    """The feature maps (H, W, C) of an image, on the CPU, by name of the method."""
    return {method.name: method([image], image_hw).patches[0].cpu() for method in methods}


def stack_resized(images: Images, image_hw: tuple[int, int], device: torch.device) -> ResizedBatch:
    """Images of any sizes as one batch of size `image_hw`."""
    return torch.stack([resize(image.to(device), image_hw) for image in images])


def fingerprint(method: Method) -> dict[str, Any]:
    """What the features of a method depend on besides the image and its size, as plain JSON.

    The default image size is left out: tasks choose the size.
    """
    spec = method.spec.to_json()
    grid = spec.pop("grid")
    del grid["image_hw"]
    return {**spec, **grid, **method.options}
