"""Names of methods: raw, srt, decomposed, denoised, distilled, raw@2x, tiles, srt-tiles, decomposed@fine4."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dvt.errors import ConfigError
from dvt.methods.method import Method
from dvt.methods.zoom import Enlarged, Tiles

BASES = ("raw", "srt", "decomposed", "denoised", "distilled")
"""Methods that others are made of."""
FINER = ("srt", "decomposed")
"""Methods that give features of cells smaller than a patch."""
_NAME = re.compile(r"(?:(?P<base>[a-z]+)-)?(?P<last>[a-z]+)(?:@(?P<factor>\d+)x)?")
_FINE = re.compile(r"(?P<base>[a-z]+)@fine(?P<fine>\d+)")
_KNOWN = (
    f"There are {', '.join(BASES)}; raw@2x sees twice the image size, tiles 2 x 2 parts of the image;"
    " decomposed@fine4 and srt@fine4 give 4 x 4 features a patch."
)


@dataclass(frozen=True, slots=True)
class _Name:
    """A parsed name."""

    base: str
    tiles: bool = False
    factor: int = 1
    """Zoom along each side."""
    fine: int = 1
    """Cells per patch along each side."""


def bases_of(names: Sequence[str]) -> set[str]:
    """Which of `BASES` the names need.

    Raises:
        ConfigError: an unknown name, or a name given twice.
    """
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"method=[{','.join(names)}]: give at least one method, and each once. {_KNOWN}")
    return {_parse(name).base for name in names}


def named_method(name: str, base: Mapping[str, Callable[[int], Method]]) -> Method:
    """The method with a name.

    Args:
        name: one of `BASES`; with `@2x` at twice the image size; `tiles` (or `tiles@3x`, `srt-tiles`) on 2 x 2 (3 x 3)
            parts of the image; `decomposed@fine4` and `srt@fine4` with 4 x 4 features a patch.
        base: makes each base that the name needs, from the cells per patch along each side.

    Raises:
        ConfigError: an unknown name.
    """
    parsed = _parse(name)
    method = base[parsed.base](parsed.fine)
    if parsed.tiles:
        return Tiles(method, parsed.factor)
    return Enlarged(method, parsed.factor) if parsed.factor > 1 else method


def is_zoom(name: str) -> bool:
    """Whether a name is that of a zoom baseline: raw features of the enlarged image, or of its tiles.

    Examples:
        >>> [name for name in ("raw", "raw@2x", "tiles", "srt-tiles") if is_zoom(name)]
        ['raw@2x', 'tiles']
    """
    try:
        parsed = _parse(name)
    except ConfigError:  # a name that the caller of dvt.evaluate chose
        return False
    return parsed.base == "raw" and (parsed.tiles or parsed.factor > 1)


def _parse(name: str) -> _Name:
    if match := _FINE.fullmatch(name):
        base, fine = match["base"], int(match["fine"])
        if base in FINER and fine >= 2:
            return _Name(base, fine=fine)
        if base in BASES and fine >= 2:
            raise ConfigError(
                f"method {name!r}: {base} has no features finer than a patch; {' and '.join(FINER)} have."
            )
    if match := _NAME.fullmatch(name):
        base, last, factor = match["base"], match["last"], match["factor"]
        tiles = last == "tiles"
        stem = (base or "raw") if tiles else last
        times = int(factor) if factor else (2 if tiles else 1)
        if stem in BASES and (tiles or not base) and (times >= 2 or not factor):
            return _Name(stem, tiles, times)
    raise ConfigError(f"there is no method {name!r}. {_KNOWN}")
