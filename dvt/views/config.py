"""Options of the views. A light module: it may be imported to print help."""

from dataclasses import dataclass
from enum import Enum

from dvt.errors import ConfigError


class Coordinates(str, Enum):
    """Where in the image a patch of a view is said to look."""

    centre = "centre"
    """At the true centre of the patch."""
    corner = "corner"
    """Evenly spaced from edge to edge of the crop, as in the released code of the original: half a patch off at the
    borders of every crop."""


class Source(str, Enum):
    """What is cropped."""

    native = "native"
    """The picture at its own resolution, so that small crops show real detail."""
    squashed = "squashed"
    """The picture already resized to the size of a view, as in the released code of the original."""


@dataclass(kw_only=True, slots=True)
class ViewsConfig:
    """How many views of an image are taken, and how."""

    num_views: int = 128
    """Random crops per image; the full view comes on top."""
    held_out_views: int = 0
    """Further crops that are kept out of the fit to measure its error on."""
    area_min: float = 0.1
    """Smallest share of the image that a crop covers."""
    area_max: float = 0.5
    """Largest share of the image that a crop covers."""
    aspect_min: float = 0.75
    """Smallest width to height ratio of a crop."""
    aspect_max: float = 4 / 3
    """Largest width to height ratio of a crop."""
    flip_probability: float = 0.5
    """How often a view is mirrored."""
    source: Source = Source.native
    """What is cropped: native (the picture at its own resolution) or squashed (resized to a view first)."""
    coordinates: Coordinates = Coordinates.centre
    """Where a patch looks: centre (true patch centres) or corner (the original's, half a patch off at crop borders)."""

    def __post_init__(self) -> None:
        """Refuse ranges that make no crop."""
        if self.num_views < 1:
            raise ConfigError(f"views.num_views={self.num_views}: give at least 1.")
        if self.held_out_views < 0:
            raise ConfigError(f"views.held_out_views={self.held_out_views}: give 0 or more.")
        if not 0 < self.area_min <= self.area_max <= 1:
            raise ConfigError(
                f"views.area_min={self.area_min}, views.area_max={self.area_max}: give 0 < area_min <= area_max <= 1."
            )
        if not 0 < self.aspect_min <= self.aspect_max:
            raise ConfigError(
                f"views.aspect_min={self.aspect_min}, views.aspect_max={self.aspect_max}:"
                " give 0 < aspect_min <= aspect_max."
            )
        if not 0 <= self.flip_probability <= 1:
            raise ConfigError(f"views.flip_probability={self.flip_probability}: give a share between 0 and 1.")
