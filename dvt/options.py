"""What the options of all verbs share: named choices, and checks of ranges. Imports no torch."""

from collections.abc import Sequence
from enum import Enum
from math import inf, isfinite
from typing import Any

from dvt.errors import ConfigError


class Choice(str, Enum):
    """An option with named values; printed as its value."""

    def __str__(self) -> str:
        return str(self.value)


def check_range(
    config: Any,
    *names: str,
    least: float = -inf,
    most: float = inf,
    above: float = -inf,
    below: float = inf,
    group: str = "",
) -> None:
    """Refuse options outside least <= value <= most and above < value < below, NaN included; None passes.

    Args:
        config: holds the options.
        names: their names.
        least: smallest allowed value.
        most: largest allowed value.
        above: a value that is too small.
        below: a value that is too large.
        group: prefix of the names on the command line, "windows.".

    Raises:
        ConfigError: names the option, its value and the bound.
    """
    for name in names:
        value = getattr(config, name)
        if value is None:
            continue
        for bound, holds, words in (
            (least, value >= least, "at least"),
            (most, value <= most, "at most"),
            (above, value > above, "a number above"),
            (below, value < below, "a number below"),
        ):
            if isfinite(bound) and not holds:
                raise ConfigError(f"{group}{name}={value}: give {words} {bound}.")


def check_each_once(name: str, values: Sequence[str], kind: type[Choice]) -> None:
    """Refuse a list of choices that is empty, or has one of them twice.

    Raises:
        ConfigError: names the option and its choices.
    """
    if not values or len(set(values)) < len(values):
        given = ",".join(map(str, values))
        raise ConfigError(f"{name}=[{given}]: give at least one of {', '.join(map(str, kind))}, and each once.")
