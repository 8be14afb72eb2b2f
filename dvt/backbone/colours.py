"""Mean and standard deviation of the colours, where the user gives them."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dvt.backbone.reader import VitFacts
from dvt.errors import ConfigError


def with_colours(facts: VitFacts, mean: Sequence[float] | None, std: Sequence[float] | None) -> VitFacts:
    """The facts of a ViT with other statistics of the colours.

    Args:
        facts: what the ViT is.
        mean: three numbers; None: as it is.
        std: three numbers above 0; None: as it is.

    Raises:
        ConfigError: not three numbers, or a standard deviation that is not above 0.
    """
    return replace(
        facts,
        mean=facts.mean if mean is None else three_numbers("backbone.mean", mean),
        std=facts.std if std is None else three_numbers("backbone.std", std, above_0=True),
    )


def three_numbers(option: str, values: Any, *, above_0: bool = False) -> tuple[float, float, float]:
    """Numbers for red, green and blue.

    Args:
        option: name of the option, for the error.
        values: what it was given.
        above_0: whether each has to be above 0.

    Raises:
        ConfigError: not three finite numbers, or not above 0.
    """
    given = values if isinstance(values, str) or not hasattr(values, "__iter__") else list(values)
    if not isinstance(given, list) or len(given) != 3 or not all(_is_number(each) for each in given):
        raise ConfigError(f"{option}={given}: give three numbers, for red, green and blue.")
    if above_0 and min(given) <= 0:
        raise ConfigError(f"{option}={given}: give numbers above 0.")
    red, green, blue = (float(each) for each in given)
    return red, green, blue


def with_colours_hash(weights_hash: str, facts: VitFacts) -> str:
    """A hash of weights and of the statistics of the colours: features depend on both."""
    return hashlib.sha256(f"{weights_hash} {facts.mean} {facts.std}".encode()).hexdigest()


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
