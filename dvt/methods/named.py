"""From names on the command line to methods: raw, srt, decomposed, denoised, distilled, raw@2x, tiles, srt-tiles."""

import re
from collections.abc import Callable, Mapping, Sequence

from dvt.errors import ConfigError
from dvt.methods.closer_look import CloserLook, Tiles
from dvt.methods.method import Method

BASES = ("raw", "srt", "decomposed", "denoised", "distilled")
"""Methods that others are made of."""
_NAME = re.compile(r"(?:(?P<base>[a-z]+)-)?(?P<last>[a-z]+)(?:@(?P<factor>\d+)x)?")


def bases_of(names: Sequence[str]) -> set[str]:
    """Which of `BASES` some names need.

    Raises:
        ConfigError: a name that says nothing, or one that is given twice.
    """
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"method=[{','.join(names)}]: give at least one method, and each once. {_there_are()}")
    return {_parse(name)[0] for name in names}


def named_method(name: str, base: Mapping[str, Callable[[], Method]]) -> Method:
    """The method of a name.

    Args:
        name: `raw` and the like; with `@2x` at twice the image size; `tiles` (or `tiles@3x`, `srt-tiles`) on 2 x 2
            (3 x 3) parts of the picture.
        base: makes each of the bases that the name needs.

    Raises:
        ConfigError: a name that says nothing.
    """
    stem, tiles, factor = _parse(name)
    method = base[stem]()
    if tiles:
        return Tiles(method, factor)
    return CloserLook(method, factor) if factor > 1 else method


def _parse(name: str) -> tuple[str, bool, int]:
    """Base, whether in tiles, and factor."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(f"there is no method {name!r}. {_there_are()}")
    base, last, factor = match["base"], match["last"], match["factor"]
    tiles = last == "tiles"
    stem = (base or "raw") if tiles else last
    times = int(factor) if factor else (2 if tiles else 1)
    if stem not in BASES or (base and not tiles) or (factor and times < 2):
        raise ConfigError(f"there is no method {name!r}. {_there_are()}")
    return stem, tiles, times


def _there_are() -> str:
    return f"There are {', '.join(BASES)}; raw@2x looks at twice the size, tiles at 2 x 2 parts of the picture."
