"""Options of the verbs, as typed Hydra schemas. Light: imported to print help."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from dvt.backbone.config import BackboneConfig
from dvt.decomposition.config import DecomposeConfig

MISSING = "???"
"""How OmegaConf marks an option that must be given."""


class StoreDtype(str, Enum):
    """Number format of a store."""

    float16 = "float16"
    """16 bits: half the disk, three significant digits."""
    float32 = "float32"
    """32 bits: as computed."""


@dataclass(kw_only=True, slots=True)
class DecomposeApp(DecomposeConfig):
    """Options of `dvt decompose`."""

    images: Any = MISSING
    """An image, a folder, a glob such as 'photos/**/*.jpg', or a .txt list of paths."""
    store: str = MISSING
    """Folder that the features go to; the same command continues one that was begun."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The ViT."""
    seed: int = 0
    """Seed of the run; every image gets its own from this and its key."""
    shard: str = "0/1"
    """Do part i of n of the list, as i/n, counted from 0: several processes may share a store."""
    arrays: list[str] = field(default_factory=lambda: ["raw", "clean"])
    """Maps to store: some of raw, clean, artifact."""
    dtype: StoreDtype = StoreDtype.float16
    """Number format of the store: float16 or float32."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    max_pixels: int = 100_000_000
    """Larger pictures are refused as decompression bombs."""


@dataclass(kw_only=True, slots=True)
class ShowApp(DecomposeConfig):
    """Options of `dvt show`."""

    image: str = MISSING
    """The image."""
    out: str | None = None
    """The PNG to write; <image>.dvt.png in the working directory when left out."""
    method: list[str] = field(default_factory=lambda: ["raw", "decomposed"])
    """What to show: raw, decomposed."""
    patch: list[int] | None = None
    """Row and column of the patch that similarities are taken to; the centre when left out."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The ViT."""
    seed: int = 0
    """Seed of the views."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    max_pixels: int = 100_000_000
    """Larger pictures are refused as decompression bombs."""
