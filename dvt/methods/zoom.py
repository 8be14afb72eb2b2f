"""Zoom baselines: a method on a larger image or on tiles of it. They show how much of a gain is zoom alone."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.errors import BackboneError
from dvt.grid import PatchGrid
from dvt.images.resize import resize
from dvt.methods.method import Images, Method
from dvt.spec import FeatureSpec


class _Zoom:
    """A method that sees k times as many pixels along each side; `kind` names it in `options`."""

    kind: ClassVar[str]

    def __init__(self, method: Method, factor: int, name: str):
        assert factor >= 2, factor
        self.name, self._method, self._factor = name, method, factor
        self.spec: FeatureSpec = method.spec
        self.options: Mapping[str, Any] = {**method.options, self.kind: factor}
        self.cost = method.cost * factor**2

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of the method at an image size (height, width).

        Raises:
            BackboneError: patches that overlap.
        """
        grid = self._method.grid_for(image_hw)
        if grid.stride != grid.patch:
            raise BackboneError(
                f"{self.name} averages patches side by side, and backbone.stride={grid.stride} makes patches"
                f" of {grid.patch} px overlap: leave out backbone.stride, or leave out {self.name}."
            )
        return grid


class Enlarged(_Zoom):
    """A method at k times the image size, features averaged to the grid.

    Costs k x k passes by pixels, and more in fact: attention grows with the square of the number of patches.
    """

    kind = "enlarged"

    def __init__(self, method: Method, factor: int):
        """Enlarge images `factor` times, at least 2."""
        super().__init__(method, factor, f"{method.name}@{factor}x")

    def __call__(self, images: Images, image_hw: tuple[int, int]) -> Features:
        """Features of images, averaged over k x k patches."""
        grid = self.grid_for(image_hw)
        large = self._method(images, (image_hw[0] * self._factor, image_hw[1] * self._factor))
        return Features(patches=_pooled(large.patches, self._factor), prefix=large.prefix, grid=grid)


class Tiles(_Zoom):
    """A method on the k x k tiles of an image, each at the full image size, features averaged to the grid.

    The zoom of `Enlarged` at the image size the ViT was trained for; a tile does not see its neighbours.
    """

    kind = "tiles"

    def __init__(self, method: Method, factor: int):
        """Cut images into `factor` x `factor` tiles, at least 2 x 2."""
        stem = "tiles" if method.name == "raw" else f"{method.name}-tiles"
        super().__init__(method, factor, stem if factor == 2 else f"{stem}@{factor}x")

    def __call__(self, images: Images, image_hw: tuple[int, int]) -> Features:
        """Features of images; class and register tokens are the mean over the tiles."""
        k, count, (height, width) = self._factor, len(images), image_hw
        grid = self.grid_for(image_hw)
        tiles = [
            tile
            for image in images
            for row in resize(image, (height * k, width * k)).chunk(k, dim=1)
            for tile in row.chunk(k, dim=2)
        ]
        features = self._method(tiles, image_hw)
        rows, columns = grid.hw
        parts = features.patches.reshape(count, k, k, rows, columns, -1).permute(0, 1, 3, 2, 4, 5)
        whole = parts.reshape(count, k * rows, k * columns, -1)
        prefix = features.prefix.reshape(count, k * k, *features.prefix.shape[1:]).mean(dim=1)
        return Features(patches=_pooled(whole, k), prefix=prefix, grid=grid)


def _pooled(patches: Tensor, factor: int) -> Tensor:
    """(B, kH, kW, C) to (B, H, W, C), the mean of every k x k block."""
    return functional.avg_pool2d(patches.permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1)
