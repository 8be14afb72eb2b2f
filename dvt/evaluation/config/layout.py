"""Layout: how images are shown to a probe; and checks that the options of tasks share."""

from enum import Enum
from math import inf
from typing import Any

from dvt.errors import ConfigError


class Choice(str, Enum):
    """An option with named values; printed as its value."""

    def __str__(self) -> str:
        return str(self.value)


class Layout(Choice):
    """How images are shown to a probe.

    Images share a layout (road below, sky above), and a probe gains from knowing the position. Removing an artifact
    that marks the position can therefore cost score. The layouts other than `usual` take that gain away.
    """

    usual = "usual"
    """As they are."""
    crops = "crops"
    """Training and test images are random crops of a quarter to a half of the area, half of them upside down."""
    upside_down = "upside_down"
    """Training images as they are, test images upside down: what a probe learned about position misleads it."""


def check_layouts(layouts: list[Layout]) -> None:
    """Refuse no layout, and a layout given twice."""
    if not layouts or len(set(layouts)) < len(layouts):
        given = ",".join(map(str, layouts))
        raise ConfigError(f"layouts=[{given}]: give at least one of {', '.join(map(str, Layout))}, and each once.")


def check_range(config: Any, *names: str, least: float = -inf, most: float = inf, group: str = "") -> None:
    """Refuse options outside least <= value <= most, and NaN; an option that is left out (None) passes.

    Args:
        config: holds the options.
        names: their names.
        least: smallest allowed value.
        most: largest allowed value.
        group: prefix of the names on the command line, "windows.".

    Raises:
        ConfigError: names the option, its value and the bound.
    """
    for name in names:
        value = getattr(config, name)
        if value is None:
            continue
        if not value >= least:
            raise ConfigError(f"{group}{name}={value}: give at least {least}.")
        if not value <= most:
            raise ConfigError(f"{group}{name}={value}: give at most {most}.")
