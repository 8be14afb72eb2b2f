"""Mean and standard deviation of the colours, where the user gives them."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

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
    for name, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != 3:
            raise ConfigError(f"backbone.{name}={list(values)}: give three numbers, for red, green and blue.")
    if std is not None and min(std) <= 0:
        raise ConfigError(f"backbone.std={list(std)}: give numbers above 0.")
    return replace(
        facts,
        mean=facts.mean if mean is None else (float(mean[0]), float(mean[1]), float(mean[2])),
        std=facts.std if std is None else (float(std[0]), float(std[1]), float(std[2])),
    )


def with_colours_hash(weights_hash: str, facts: VitFacts) -> str:
    """A hash of weights and of the statistics of the colours: features depend on both."""
    return hashlib.sha256(f"{weights_hash} {facts.mean} {facts.std}".encode()).hexdigest()
