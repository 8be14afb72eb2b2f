"""Options of SRT. A light module: it may be imported to print help."""

from dataclasses import dataclass
from enum import Enum

from dvt.errors import ConfigError


class Aggregate(str, Enum):
    """How the aligned features of all views become one."""

    mean = "mean"
    """Every view counts by how much of a cell it covers; memory does not grow with the views."""
    median = "median"
    """Channel by channel, over the views that cover any part of a cell; keeps the features of all views."""


class Fill(str, Enum):
    """What stands in a view where a shift leaves the picture behind."""

    edge = "edge"
    """The nearest pixel of the picture."""
    reflect = "reflect"
    """The picture, mirrored at its edge."""
    mean = "mean"
    """The mean colour of the ViT's training data: zero after normalisation, as in the released code."""


@dataclass(kw_only=True, slots=True)
class SrtConfig:
    """All options of SRT; `docs/srt.md` has the measurements behind the defaults."""

    max_shift: int = 3
    """Largest shift in pixels, along each axis and in both directions; less than a patch."""
    step: int = 1
    """Pixels between neighbouring shifts."""
    aggregate: Aggregate = Aggregate.mean
    """mean, or median (keeps the features of all views in memory)."""
    fill: Fill = Fill.edge
    """What stands where a shift leaves the picture behind: edge, reflect, or mean (the mean colour)."""
    finer: int = 1
    """Cells of the result per patch along each side; above 1 a finer map, from the same forward passes."""
    batch_size: int = 32
    """Shifted views per forward pass of the backbone; at least one shift of all images that were given."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        for name in ("max_shift", "step", "finer", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"srt.{name}={getattr(self, name)}: give at least 1.")
        if self.step > self.max_shift:
            raise ConfigError(
                f"srt.step={self.step} leaves no shift within srt.max_shift={self.max_shift}: give a step of 1 to"
                f" {self.max_shift}."
            )
