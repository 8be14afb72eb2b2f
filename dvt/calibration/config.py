"""Options of a calibration. Imports no torch: help pages read them."""

from dataclasses import dataclass
from enum import Enum

from dvt.diagnosis.config import BATCH_SIZE, require_images
from dvt.errors import ConfigError
from dvt.options import check_range


class Method(str, Enum):
    """What is computed from the images."""

    centred = "centred"
    """Subtract the mean map: what all images share at a position."""
    blank = "blank"
    """Subtract the response to images without content: plain colours and noise."""
    artifact = "artifact"
    """Subtract the artifact of stage 1, its mean over the images; 43 passes an image."""
    projected = "projected"
    """Remove the directions that depend on the position (least-squares concept erasure, Belrose et al. 2023)."""
    blocks = "blocks"
    """The principal components of all blocks together, as many as the ViT has channels."""
    registers = "registers"
    """Move outlier tokens to an extra token: test-time registers (Jiang et al. 2025), where a ViT has outliers."""


@dataclass(kw_only=True, slots=True)
class CalibrationConfig:
    """Options of a calibration."""

    method: Method = Method.centred
    """centred (subtract the mean map), blank (the response to images without content), artifact (the mean artifact of
    stage 1), projected (remove directions that depend on the position), blocks (principal components of all blocks
    together), or registers (outlier tokens are moved to an extra token; refused where there are none)."""
    num_images: int = 64
    """Number of images, drawn at random; all of them if there are fewer. A quarter of them measures the result."""
    windows: int = 8
    """Windows of each image: random crops, mirrored and upside down by chance, so that the layout of photographs is no
    position. An even number. artifact and blank use none."""
    rank: int | None = None
    """Directions that are removed: of projected, left out: those that depend on the position in images that were not
    used; of blank, left out or 0: it subtracts its map, else it removes so many principal directions of it. Of
    registers: the number of neurons; left out: the held-out images choose it."""
    centre: bool | None = None
    """Whether projected and blocks also subtract what remains of the mean map; left out: blocks does."""
    batch_size: int = BATCH_SIZE
    """Windows per forward pass."""
    seed: int = 0
    """Seed for the choice of images and windows."""

    def __post_init__(self) -> None:
        require_images(self.num_images)
        check_range(self, "batch_size", least=1)
        check_range(self, "windows", least=2)
        if self.windows % 2:
            raise ConfigError(f"windows={self.windows}: give an even number, windows come in pairs.")
        if self.rank is not None:
            if self.method not in (Method.blank, Method.projected, Method.registers):
                raise ConfigError(f"rank={self.rank}: method={self.method.value} removes no directions; leave it out.")
            check_range(self, "rank", least=0 if self.method is Method.blank else 1)
        if self.centre is not None and self.method not in (Method.projected, Method.blocks):
            raise ConfigError(
                f"centre={str(self.centre).lower()} is for method=projected and method=blocks: leave it out."
            )
