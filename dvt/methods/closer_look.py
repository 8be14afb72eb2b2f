"""A closer look at a picture, by whatever method: how much of a gain is zoom alone."""

from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.errors import BackboneError
from dvt.grid import PatchGrid
from dvt.images.resize import resize
from dvt.methods.method import Method, Pictures


class _Closer:
    """A method of which k x k passes make one map; `kind` names it in the fingerprint."""

    kind: ClassVar[str]

    def __init__(self, method: Method, factor: int, name: str):
        assert factor >= 2, factor
        self.name, self._method, self._factor = name, method, factor

    @property
    def num_channels(self) -> int:
        """C."""
        return self._method.num_channels

    @property
    def passes(self) -> int:
        """Counted by pixels: k x k of the method's."""
        return self._method.passes * self._factor**2

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The method's, and k."""
        return self._method.fingerprint | {self.kind: self._factor}

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of a picture looked at in that size: those of the method, from less close.

        Raises:
            BackboneError: patches that overlap.
        """
        grid = self._method.grid_for(image_hw)
        if grid.stride != grid.patch:
            raise BackboneError(
                f"{self.name} averages patches that lie side by side, and backbone.stride={grid.stride} makes patches"
                f" of {grid.patch} px overlap: leave out backbone.stride, or leave out {self.name}."
            )
        return grid


class CloserLook(_Closer):
    """A method on pictures k times as large, its features averaged back to the grid: how much of a gain is zoom alone.

    It costs what k x k passes cost and more, for attention grows with the square of the number of patches.
    """

    kind = "closer"

    def __init__(self, method: Method, factor: int):
        """Look k times closer.

        Args:
            method: the method.
            factor: k, at least 2.
        """
        super().__init__(method, factor, f"{method.name}@{factor}x")

    def __call__(self, pictures: Pictures, image_hw: tuple[int, int]) -> Features:
        """Features of pictures, each looked at in k times `image_hw`."""
        grid = self.grid_for(image_hw)
        large = self._method(pictures, (image_hw[0] * self._factor, image_hw[1] * self._factor))
        return Features(patches=_pooled(large.patches, self._factor), prefix=large.prefix, grid=grid)


class Tiles(_Closer):
    """A method on the k x k parts of a picture, each at the full size, averaged back to the grid.

    The zoom of `CloserLook` at the size that the ViT was trained for; each part is blind to its neighbours.
    """

    kind = "tiles"

    def __init__(self, method: Method, factor: int):
        """Cut into k x k tiles.

        Args:
            method: the method.
            factor: k, at least 2.
        """
        stem = "tiles" if method.name == "raw" else f"{method.name}-tiles"
        super().__init__(method, factor, stem if factor == 2 else f"{stem}@{factor}x")

    def __call__(self, pictures: Pictures, image_hw: tuple[int, int]) -> Features:
        """Features of pictures; class and register tokens are the mean over the tiles."""
        k, count, (height, width) = self._factor, len(pictures), image_hw
        grid = self.grid_for(image_hw)
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


def _pooled(patches: Tensor, factor: int) -> Tensor:
    """(B, kH, kW, C) to (B, H, W, C), the mean of every k x k block."""
    return functional.avg_pool2d(patches.permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1)
