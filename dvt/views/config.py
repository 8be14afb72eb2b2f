"""Options of the views. Cheap to import, for help pages."""

from dataclasses import dataclass
from enum import Enum

from dvt.errors import ConfigError


class Coordinates(str, Enum):
    """Image position assigned to a patch of a view."""

    centre = "centre"
    """The true centre of the patch."""
    corner = "corner"
    """Evenly spaced from edge to edge of the crop, as in the released code: half a patch off at the borders of
    every crop."""


class Source(str, Enum):
    """The image that crops are taken from."""

    native = "native"
    """The image at its own resolution, so that small crops show real detail."""
    squashed = "squashed"
    """The image resized to the size of a view, as in the released code."""


class Layout(str, Enum):
    """How the views are spread over the image."""

    random = "random"
    """Independent random crops, as in the paper."""
    sobol = "sobol"
    """Crops of a scrambled Sobol sequence: area, aspect and position are spread evenly for any number of views."""
    grid = "grid"
    """Grids of equal windows from edge to edge, moved by up to half a patch and mirrored in turn."""


@dataclass(kw_only=True, slots=True)
class ViewsConfig:
    """Number and distribution of the views of an image."""

    num_views: int = 41
    """Views per image, in addition to the full view."""
    layout: Layout = Layout.grid
    """How they are spread over the image: grid, sobol or random."""
    held_out_views: int = 0
    """Additional random crops outside the fit, to measure its error."""
    area_min: float = 0.1
    """Smallest crop area, as a share of the image."""
    area_max: float = 0.5
    """Largest crop area, as a share of the image."""
    aspect_min: float = 0.75
    """Smallest width to height ratio of a random or sobol crop; windows of a grid have the aspect of the image."""
    aspect_max: float = 4 / 3
    """Largest width to height ratio of a random or sobol crop."""
    flip_probability: float = 0.5
    """Probability of mirroring a view."""
    source: Source = Source.native
    """Image to crop from: native (its own resolution) or squashed (resized to a view first)."""
    coordinates: Coordinates = Coordinates.centre
    """Patch positions: centre (true centres) or corner (as released, half a patch off at crop borders)."""

    def __post_init__(self) -> None:
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
