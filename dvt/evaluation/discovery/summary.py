"""From numbers per picture to scores: means, means per sequence, and what has to be said."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final

from dvt.evaluation.discovery.scenes import Scene

_SHOWN: Final = 5
"""How many pictures a note names."""


def percent(values: Sequence[float]) -> tuple[float]:
    """The mean of shares in [0, 1] in per cent; NaN of none."""
    return (100 * fmean(values) if values else math.nan,)


def by_sequence(values: Mapping[str, float], scenes: Sequence[Scene]) -> dict[str, float]:
    """The mean of each sequence, in per cent; empty where there are no sequences.

    Args:
        values: shares by the key of the picture.
        scenes: all pictures; those without a value do not count.
    """
    groups: dict[str, list[float]] = {}
    for scene in scenes:
        if scene.group and scene.key in values:
            groups.setdefault(scene.group, []).append(values[scene.key])
    return {group: 100 * fmean(each) for group, each in groups.items()}


def notes(
    num_scored: int, without_object: Sequence[str], nothing_found: Sequence[str], with_void: Sequence[str] = ()
) -> tuple[str, ...]:
    """What a reader of the scores has to know.

    Args:
        num_scored: how many pictures have a score.
        without_object: pictures that were left out, for there is nothing to find in them.
        nothing_found: pictures in which the algorithm found nothing.
        with_void: pictures with pixels that are left out, for nothing is known of them.
    """
    lines = []
    if without_object:
        lines.append(
            f"{_pictures(without_object)} left out, for no object is marked in {_them(without_object)}:"
            f" {_named(without_object)}"
        )
    if nothing_found:
        lines.append(
            f"{_pictures(nothing_found)} with features that are all alike, so that nothing was found; counted as"
            f" missed: {_named(nothing_found)}"
        )
    if with_void:
        lines.append(
            f"{_pictures(with_void)} with pixels marked as void, which are left out of the count: {_named(with_void)}"
        )
    if not num_scored:
        lines.append("no picture was left to score")
    return tuple(lines)


def _pictures(keys: Sequence[str]) -> str:
    return "1 picture" if len(keys) == 1 else f"{len(keys)} pictures"


def _them(keys: Sequence[str]) -> str:
    return "it" if len(keys) == 1 else "them"


def _named(keys: Sequence[str]) -> str:
    return ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")
