"""Position put back into cleaned features: what a method removed, or a sin-cos embedding.

Detection gains from knowing where a patch is, and cleaning takes a part of that knowledge away. The DVT paper adds a
fixed sin-cos embedding to denoised features before its detector (appendix B).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.errors import BackboneError
from dvt.grid import PatchGrid
from dvt.methods.config import Position, PositionKind
from dvt.methods.method import Images, Method
from dvt.shapes import FeatureMap, FeatureMaps
from dvt.spec import FeatureSpec

TEMPERATURE: Final = 10000.0
"""Longest wavelength of the embedding, over 2 pi, in units of its grid."""
GRID: Final = 37
"""The embedding counts position as on a grid of 37 x 37 patches, at any number of patches, as the paper does."""


class WithPosition(ABC):
    """A method with position added to its patches; class and register tokens stay."""

    def __init__(self, method: Method, position: Position, cost: int, about: Mapping[str, Any]):
        self.name, self.cost = f"{method.name}{position.suffix}", cost
        self.method, self.position = method, position
        self.spec: FeatureSpec = method.spec
        self.options: Mapping[str, Any] = {**method.options, "position": position.suffix, **about}

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of the method at an image size (height, width)."""
        return self.method.grid_for(image_hw)

    def __call__(self, images: Images, image_hw: tuple[int, int]) -> Features:
        """Features of images, with position."""
        features = self.method(images, image_hw)
        return replace(features, patches=features.patches + self.position.share * self._whole(images, features))

    @abstractmethod
    def around(self, change: Callable[[Method], Method]) -> "WithPosition":
        """The same position on methods that `change` made of those inside."""

    @abstractmethod
    def _whole(self, images: Images, features: Features) -> Tensor:
        """(B, H, W, C), or (H, W, C) for all images: what is added with share 1."""


class WithRemoved(WithPosition):
    """A method with a share of what it removed: raw minus clean features of the same image, one more pass.

    With share 1 the features are the raw ones. Where the method has several cells per patch, all cells of a patch get
    the same vector; with share 1 their mean is the raw feature.
    """

    def __init__(self, method: Method, raw: Method, share: float):
        """Add to `method` the `share` of what it took from `raw`.

        Raises:
            BackboneError: other patches or channels.
        """
        ours, theirs = (
            f"{spec.channels} channels on patches of {spec.grid.patch} px every {spec.grid.stride} px"
            for spec in (method.spec, raw.spec)
        )
        if ours != theirs:
            raise BackboneError(
                f"{method.name} has {ours}, {raw.name} has {theirs}: what was removed is not their difference. Give"
                f" +sincos{share:g} instead."
            )
        about = {"raw_weights_hash": raw.spec.weights_hash}
        super().__init__(method, Position(PositionKind.removed, share), method.cost + raw.cost, about)
        self.raw = raw

    def around(self, change: Callable[[Method], Method]) -> "WithRemoved":
        """The same share of the position that a changed method takes from changed raw features."""
        return WithRemoved(change(self.method), change(self.raw), self.position.share)

    def _whole(self, images: Images, features: Features) -> Tensor:
        raw = self.raw(images, features.grid.image_hw)
        cells = features.grid.fine // raw.grid.fine
        means = functional.avg_pool2d(features.patches.permute(0, 3, 1, 2), cells).permute(0, 2, 3, 1)
        return to_cells(raw.patches.to(means) - means, cells)


class WithSinCos(WithPosition):
    """A method with a fixed 2-D sin-cos embedding of the position.

    The embedding is scaled to the mean norm of the patches of each image: with share 1 it is as long as the features,
    whatever the ViT, its layer and its norm. The paper does not say how it scales its embedding of norm sqrt(C / 2);
    features after a LayerNorm of unit gain have the norm sqrt(C), so that this would be a share of 0.7.
    """

    def __init__(self, method: Method, share: float):
        """Add the `share` of the embedding to `method`."""
        super().__init__(method, Position(PositionKind.sincos, share), method.cost, {})

    def around(self, change: Callable[[Method], Method]) -> "WithSinCos":
        """The same share of the embedding on a changed method."""
        return WithSinCos(change(self.method), self.position.share)

    def _whole(self, images: Images, features: Features) -> Tensor:
        embedding = sincos_embedding(features.grid, features.patches.shape[-1]).to(features.patches)
        norms = torch.linalg.vector_norm(features.patches, dim=-1).mean(dim=(1, 2))
        own = torch.linalg.vector_norm(embedding, dim=-1).mean()
        scaled: Tensor = embedding * (norms / own)[:, None, None, None]
        return scaled


def sincos_embedding(grid: PatchGrid, num_channels: int) -> FeatureMap:
    """(H, W, C) sines and cosines of the row, then of the column, of every patch or cell.

    Args:
        grid: the patches; their centres are counted on `GRID` x `GRID` patches over the image.
        num_channels: C; what is left over of a multiple of 4 is zero.
    """
    quarter = num_channels // 4
    wavelengths = TEMPERATURE ** (torch.arange(quarter, dtype=torch.float64) / max(quarter, 1))
    place = (grid.centres_xy.double() * GRID - 0.5).flip(-1)[..., None] / wavelengths  # (H, W, 2, C / 4)
    waves = torch.cat([place.sin(), place.cos()], dim=-1).flatten(2)
    return functional.pad(waves, (0, num_channels - waves.shape[-1])).float()


def to_cells(maps: FeatureMaps, cells: int) -> Tensor:
    """(B, H, W, C) of patches to (B, H cells, W cells, C): every cell has the vector of its patch."""
    return maps.repeat_interleave(cells, dim=1).repeat_interleave(cells, dim=2)
