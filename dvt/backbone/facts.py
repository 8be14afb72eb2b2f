"""What a ViT is, by its name alone: nothing is downloaded, no weights are made."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from dvt.backbone.build import build_vit
from dvt.backbone.build import full_name as full_timm_name
from dvt.backbone.catalogue import CATALOGUE, licence_of, lookup
from dvt.grid import PatchGrid
from dvt.spec import FeatureSpec


@dataclass(frozen=True, slots=True)
class VitFacts:
    """A ViT of timm."""

    name: str
    """Full timm name, with the tag of its weights."""
    depth: int
    """Number of blocks."""
    num_channels: int
    """Channels C of a feature vector."""
    patch: int
    """Side of a patch in pixels."""
    image_hw: tuple[int, int]
    """Default height and width of an image: the catalogue's, else the model's own."""
    license: str | None
    """Licence of its weights, as far as timm knows it."""

    @property
    def spec(self) -> FeatureSpec:
        """Features after the last block and the final norm, at the default size, of weights that are not recorded."""
        return FeatureSpec(
            backbone=self.name,
            weights_hash=None,
            layer=self.depth - 1,
            norm=True,
            grid=PatchGrid.of(self.image_hw, self.patch),
            channels=self.num_channels,
        )


@cache
def facts_of(backbone: str) -> VitFacts:
    """The facts of a ViT.

    Args:
        backbone: a catalogue name, or the name of a plain ViT of timm.

    Raises:
        BackboneError: there is none; with the nearest names.
    """
    row = lookup(backbone)
    with torch.device("meta"):
        vit = build_vit(row.timm)
    name = full_timm_name(vit)
    embed: Any = vit.patch_embed
    own: Any = vit.pretrained_cfg
    _, height, width = own["input_size"]
    size = next((each.image_size for each in CATALOGUE.values() if each.timm == name), row.image_size)
    return VitFacts(
        name=name,
        depth=len(vit.blocks),
        num_channels=vit.embed_dim,
        patch=embed.patch_size[0],
        image_hw=(size, size) if size else (height, width),
        license=licence_of(name),
    )
