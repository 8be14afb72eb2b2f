"""Readout: which tokens of a ViT are taken."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from dvt.backbone.build import Vit, full_name
from dvt.errors import BackboneError
from dvt.grid import PatchGrid


@dataclass(frozen=True, slots=True)
class Readout:
    """At which patches, after which block, before or after the final norm."""

    grid: PatchGrid
    """Patches of an image of the default size."""
    layer: int
    """Index of the block whose output is taken, counted from 0."""
    norm: bool
    """Whether the ViT's final norm is applied to it."""

    @classmethod
    def of(cls, vit: Vit, image_hw: tuple[int, int], stride: int | None, layer: int, norm: bool) -> "Readout":
        """Check a wish against a ViT.

        Args:
            vit: the ViT.
            image_hw: default height and width of an image in pixels.
            stride: pixels between neighbouring patches; None is the patch size.
            layer: index of the block; negative numbers count from the last.
            norm: whether to apply the final norm.

        Raises:
            GeometryError: image size, patch size and stride do not go together.
            BackboneError: there is no such block, or no final norm.
        """
        embed: Any = vit.patch_embed
        grid = PatchGrid.of(image_hw, embed.patch_size[0], stride)
        depth = len(vit.blocks)
        if not -depth <= layer < depth:
            raise BackboneError(
                f"layer {layer} does not exist: {full_name(vit)} has {depth} blocks. Give 0 to {depth - 1}, or -{depth}"
                " to -1 counted from the last."
            )
        if norm and isinstance(vit.norm, nn.Identity):
            raise BackboneError(
                f"{full_name(vit)} has no final norm on its tokens (it has none, or norms after pooling)."
                " Set norm=False (backbone.norm=false on the command line)."
            )
        return cls(grid=grid, layer=layer % depth, norm=norm)
