"""Options of the artifact scores and of the doctor. A light module: it may be imported to print help."""

from dataclasses import dataclass
from typing import Any

from dvt.errors import ConfigError
from dvt.options import check_range

MIN_IMAGES = 16
"""With fewer images, chance looks like a pattern."""
BATCH_SIZE = 4
"""Images per forward pass, three views of each."""
MAX_LAYERS = 12
"""Number of blocks that are measured by default; those of deeper ViTs are evenly spaced and include the last one."""


@dataclass(kw_only=True, slots=True)
class ArtifactScoresConfig:
    """Options of the task artifact_scores."""

    num_images: int = 50
    """Number of images, drawn at random; all of them if there are fewer."""
    image_size: Any = 224
    """Size in pixels at which the ViT sees a window: one number, or [height,width]."""
    seeds: int = 3
    """Number of repetitions, each with other images, windows and flips."""

    def __post_init__(self) -> None:
        require_images(self.num_images)
        check_range(self, "seeds", least=1)


@dataclass(kw_only=True, slots=True)
class DoctorConfig:
    """Options of a diagnosis."""

    num_images: int = 100
    """Number of images, drawn at random; all of them if there are fewer."""
    layers: list[int] | None = None
    """Blocks to measure, counted from 0, as [8,11]; default: all up to backbone.layer, at most 12."""
    batch_size: int = BATCH_SIZE
    """Images per forward pass, three views of each."""
    seed: int = 0
    """Seed for the choice of images, windows and flips."""

    def __post_init__(self) -> None:
        require_images(self.num_images)
        check_range(self, "batch_size", least=1)


def require_images(num_images: int) -> None:
    """Refuse too few images.

    Raises:
        ConfigError: fewer than `MIN_IMAGES`.
    """
    if num_images < MIN_IMAGES:
        raise ConfigError(f"num_images={num_images}: give at least {MIN_IMAGES}, chance looks like a pattern.")
