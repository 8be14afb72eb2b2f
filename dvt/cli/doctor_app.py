"""Options of `dvt doctor`, as a typed Hydra schema. Light: imported to print help."""

from dataclasses import dataclass, field
from typing import Any

from dvt.backbone.config import BackboneConfig
from dvt.cli.apps import MISSING
from dvt.diagnosis.config import DoctorConfig


@dataclass(kw_only=True, slots=True)
class DoctorApp(DoctorConfig):
    """Options of `dvt doctor`."""

    images: Any = MISSING
    """An image folder, a glob such as 'photos/**/*.jpg', or a .txt list of paths; 16 pictures or more, better 100."""
    out: str = "doctor.png"
    """The picture to write: scores over depth, maps of every layer."""
    json: bool = False
    """Print everything as JSON, with the maps, instead of the table and the words."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The ViT; blocks up to backbone.layer are looked at."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    max_pixels: int = 100_000_000
    """Larger pictures are refused as decompression bombs."""
