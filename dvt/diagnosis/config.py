"""Options of the doctor. A light module: it may be imported to print help."""

from dataclasses import dataclass

from dvt.diagnosis.sampling import MIN_IMAGES
from dvt.errors import ConfigError

MAX_LAYERS = 12
"""Blocks that are looked at when none are asked for; of deeper ViTs that many, evenly spread, the last among them."""


@dataclass(kw_only=True, slots=True)
class DoctorConfig:
    """How a ViT is examined."""

    num_images: int = 100
    """Pictures to look at, drawn at random from those that are there; all of them where there are fewer."""
    layers: list[int] | None = None
    """Blocks to look at, counted from 0, as [8,11]; left out: all up to backbone.layer, of deep ViTs every other."""
    batch_size: int = 4
    """Pictures per forward pass, three views of each."""
    seed: int = 0
    """Of the choice of pictures, of windows and flips."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        if self.num_images < MIN_IMAGES:
            raise ConfigError(f"num_images={self.num_images}: give at least {MIN_IMAGES}, chance looks like a pattern.")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size={self.batch_size}: give at least 1.")
