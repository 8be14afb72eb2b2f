"""Options of the artifact scores. A light module: it may be imported to print help."""

from dataclasses import dataclass
from typing import Any

from dvt.errors import ConfigError

MIN_IMAGES = 16
"""With fewer pictures, chance looks like a pattern."""


@dataclass(kw_only=True, slots=True)
class ArtifactScoresConfig:
    """How the artifact scores are taken."""

    num_images: int = 50
    """Pictures to look at, drawn at random from those that are there; all of them where there are fewer."""
    image_size: Any = 224
    """Size in pixels that a window is looked at in: one number, or [height,width]."""
    seeds: int = 3
    """How many times other pictures, windows and flips are drawn."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        if self.num_images < MIN_IMAGES:
            raise ConfigError(f"num_images={self.num_images}: give at least {MIN_IMAGES}, chance looks like a pattern.")
        if self.seeds < 1:
            raise ConfigError(f"seeds={self.seeds}: give at least 1.")
