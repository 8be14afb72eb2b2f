"""Options of SRT. Cheap to import, for help pages."""

from dataclasses import dataclass
from enum import Enum

from dvt.errors import ConfigError


class Aggregate(str, Enum):
    """Aggregation of the aligned features over all views."""

    mean = "mean"
    """Weights each view by its coverage of a cell; memory does not grow with the number of views."""
    median = "median"
    """Per channel, over the views that cover any part of a cell; keeps the features of all views."""


class Fill(str, Enum):
    """Content of the pixels beyond the image edge in a shifted view."""

    edge = "edge"
    """The nearest pixel of the image."""
    reflect = "reflect"
    """The image, mirrored at its edge."""
    mean = "mean"
    """The mean colour of the ViT's training data: zero after normalisation, as in the released code."""


@dataclass(kw_only=True, slots=True)
class SrtConfig:
    """All options of SRT; `docs/srt.md` explains the defaults."""

    max_shift: int = 3
    """Largest shift in pixels, along each axis and in both directions; less than a patch."""
    step: int = 1
    """Pixels between neighbouring shifts."""
    aggregate: Aggregate = Aggregate.mean
    """mean, or median (keeps the features of all views in memory)."""
    fill: Fill = Fill.edge
    """Content beyond the image edge: edge (nearest pixel), reflect, or mean (the mean colour)."""
    fine: int = 1
    """Result cells per patch along each side; above 1 gives a finer map from the same forward passes."""
    batch_size: int = 32
    """Shifted views per forward pass of the backbone; at least one shift of the whole image batch."""

    def __post_init__(self) -> None:
        for name in ("max_shift", "step", "fine", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"srt.{name}={getattr(self, name)}: give at least 1.")
        if self.step > self.max_shift:
            raise ConfigError(
                f"srt.step={self.step} leaves no shift within srt.max_shift={self.max_shift}: give a step of 1 to"
                f" {self.max_shift}."
            )
