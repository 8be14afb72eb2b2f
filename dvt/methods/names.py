"""Names of methods: raw, srt, decomposed, denoised, distilled, raw@2x, tiles, srt-tiles."""

import re
from collections.abc import Callable, Mapping, Sequence

from dvt.errors import ConfigError
from dvt.methods.method import Method
from dvt.methods.zoom import Enlarged, Tiles

BASES = ("raw", "srt", "decomposed", "denoised", "distilled")
"""Methods that others are made of."""
_NAME = re.compile(r"(?:(?P<base>[a-z]+)-)?(?P<last>[a-z]+)(?:@(?P<factor>\d+)x)?")
_KNOWN = f"There are {', '.join(BASES)}; raw@2x sees twice the image size, tiles 2 x 2 parts of the image."


def bases_of(names: Sequence[str]) -> set[str]:
    """Which of `BASES` the names need.

    Raises:
        ConfigError: an unknown name, or a name given twice.
    """
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"method=[{','.join(names)}]: give at least one method, and each once. {_KNOWN}")
    return {_parse(name)[0] for name in names}


def named_method(name: str, base: Mapping[str, Callable[[], Method]]) -> Method:
    """The method with a name.

    Args:
        name: one of `BASES`; with `@2x` at twice the image size; `tiles` (or `tiles@3x`, `srt-tiles`) on 2 x 2 (3 x 3)
            parts of the image.
        base: makes each base that the name needs.

    Raises:
        ConfigError: an unknown name.
    """
    stem, tiles, factor = _parse(name)
    method = base[stem]()
    if tiles:
        return Tiles(method, factor)
    return Enlarged(method, factor) if factor > 1 else method


def is_zoom(name: str) -> bool:
    """Whether a name is that of a zoom baseline: raw features of the enlarged image, or of its tiles.

    Examples:
        >>> [name for name in ("raw", "raw@2x", "tiles", "srt-tiles") if is_zoom(name)]
        ['raw@2x', 'tiles']
    """
    try:
        base, tiles, factor = _parse(name)
    except ConfigError:  # a name that the caller of dvt.evaluate chose
        return False
    return base == "raw" and (tiles or factor > 1)


def _parse(name: str) -> tuple[str, bool, int]:
    """Base, whether in tiles, and factor."""
    if match := _NAME.fullmatch(name):
        base, last, factor = match["base"], match["last"], match["factor"]
        tiles = last == "tiles"
        stem = (base or "raw") if tiles else last
        times = int(factor) if factor else (2 if tiles else 1)
        if stem in BASES and (tiles or not base) and (times >= 2 or not factor):
            return stem, tiles, times
    raise ConfigError(f"there is no method {name!r}. {_KNOWN}")
