"""Test-time ensembles: the mean over copies of an image that are moved or mirrored, each put back in place.

What belongs to the position of a patch stands at other places of each copy, and the mean has less of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from dvt.backbone.features import Features
from dvt.errors import BackboneError
from dvt.grid import PatchGrid
from dvt.methods.method import Images, Model, stack_resized
from dvt.shapes import FeatureMaps, ImageBatch
from dvt.spec import FeatureSpec

SIDE: Final = 3
"""Rolled copies along each side."""


@dataclass(frozen=True, slots=True)
class Copy:
    """How a copy differs from its image."""

    mirrored: bool = False
    """Left and right are exchanged."""
    rows: int = 0
    """Patches that it is rolled down; what leaves at the bottom enters at the top."""
    columns: int = 0
    """Patches that it is rolled to the right."""

    def of(self, images: ImageBatch, patch: int) -> ImageBatch:
        """The copies of images."""
        rolled = torch.roll(images, (self.rows * patch, self.columns * patch), dims=(-2, -1))
        return rolled.flip(-1) if self.mirrored else rolled

    def put_back(self, patches: FeatureMaps) -> FeatureMaps:
        """The features of copies, at the places of their images."""
        patches = patches.flip(2) if self.mirrored else patches
        return torch.roll(patches, (-self.rows, -self.columns), dims=(1, 2))


class Ensemble:
    """The mean of a model's features over copies of an image.

    Examples:
        >>> import dvt
        >>> flip = Ensemble("flip", dvt.load_backbone("vit_micro", device="cpu"))
        >>> flip([torch.rand(3, 80, 100)], (64, 96)).patches.shape, flip.cost
        (torch.Size([1, 4, 6, 192]), 2)
    """

    def __init__(self, name: str, model: Model):
        """Choose the copies.

        Args:
            name: `flip`: the image and its mirror image; `shift`: 3 x 3 copies rolled by thirds of the grid.
            model: the ViT.
        """
        self.name, self._model = name, model
        self.cost = 2 if name == "flip" else SIDE**2

    @property
    def spec(self) -> FeatureSpec:
        """That of the model."""
        return self._model.spec

    @property
    def options(self) -> Mapping[str, Any]:
        """Precision, and the kind of copies."""
        return {"precision": str(self._model.precision), "copies": self.name}

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches at an image size (height, width).

        Raises:
            BackboneError: patches that overlap.
        """
        grid = self._model.grid_for(image_hw)
        if grid.stride != grid.patch:
            raise BackboneError(
                f"{self.name} moves images by whole patches, and backbone.stride={grid.stride} makes patches of"
                f" {grid.patch} px overlap: leave out backbone.stride, or leave out {self.name}."
            )
        return grid

    def __call__(self, images: Images, image_hw: tuple[int, int]) -> Features:
        """Features of images, each resized to `image_hw`; class and register tokens are the mean over the copies."""
        grid = self.grid_for(image_hw)
        batch = stack_resized(images, image_hw, self._model.device)
        patches, prefix = torch.zeros(()), torch.zeros(())
        copies = self._copies(grid)
        for copy in copies:
            found = self._model(copy.of(batch, grid.patch))
            patches = patches + _share(copy.put_back(found.patches), copies)
            prefix = prefix + _share(found.prefix, copies)
        return Features(patches=patches, prefix=prefix, grid=grid)

    def _copies(self, grid: PatchGrid) -> list[Copy]:
        if self.name == "flip":
            return [Copy(), Copy(mirrored=True)]
        rows, columns = grid.hw
        return [
            Copy(rows=rows * down // SIDE, columns=columns * right // SIDE)
            for down in range(SIDE)
            for right in range(SIDE)
        ]


def _share(tokens: Tensor, copies: Sequence[Copy]) -> Tensor:
    return tokens.float().cpu() / len(copies)
