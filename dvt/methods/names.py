"""Names of methods: raw, srt, decomposed:best@fine4+position0.5, denoised:mine, distilled, raw@2x, tiles, srt-tiles."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from dvt.decomposition.quality import qualities
from dvt.errors import ConfigError
from dvt.methods.config import Position, PositionKind
from dvt.methods.method import Method
from dvt.methods.position import WithRemoved, WithSinCos
from dvt.methods.zoom import Enlarged, Tiles

BASES = ("raw", "flip", "shift", "srt", "decomposed", "denoised", "distilled")
"""Methods that others are made of."""
FINER = ("srt", "decomposed")
"""Methods that give features of cells smaller than a patch."""
TRAINED = ("denoised", "distilled")
"""Methods with weights of their own."""
_VARIED = ("decomposed", *TRAINED)
_NAME = re.compile(
    r"(?P<base>[a-z]+)(?::(?P<variant>[\w.+-]+?))?(?P<tiles>-tiles)?(?:@(?P<zoom>\d+)x|@fine(?P<fine>\d+))?"
    r"(?:\+(?P<kind>position|sincos)(?P<share>0\.\d{0,3}[1-9]|1))?"
)
_KNOWN = (
    f"There are {', '.join(BASES)}; flip averages the image and its mirror image, shift copies moved by thirds of the"
    " grid; raw@2x sees twice the image size, tiles 2 x 2 parts of the image;"
    " decomposed@fine4 and srt@fine4 give 4 x 4 features a patch; decomposed:fast is a quality of stage 1,"
    " denoised:mine one of several denoisers; decomposed+position0.5 has half of the removed position,"
    " decomposed+sincos1 a sin-cos embedding (at most four decimals)."
)


class Family(str, Enum):
    """Kinds of methods, by what a user pays for them."""

    raw = "raw, zoom baselines"
    """Raw features, also of an enlarged image or of its tiles."""
    ensemble = "flip, shift, SRT"
    """Several passes, nothing fitted or trained."""
    decomposed = "stage 1"
    """Several passes and a fit per image."""
    trained = "denoised, distilled"
    """Trained once, one pass per image."""
    other = "other"
    """A method of a caller of `dvt.evaluate`."""


@dataclass(frozen=True, slots=True)
class MethodName:
    """A parsed name."""

    base: str
    """One of `BASES`."""
    variant: str | None = None
    """A quality of stage 1, or the name of a denoiser or of a distilled ViT."""
    tiles: bool = False
    """Whether the image is cut into tiles."""
    zoom: int = 1
    """Zoom along each side."""
    fine: int = 1
    """Cells per patch along each side."""
    position: Position | None = None
    """What is added to the features."""

    @property
    def unzoomed(self) -> str:
        """The name without zoom and position.

        Examples:
            >>> parse_name("denoised:mine@2x").unzoomed, parse_name("decomposed:best@fine4").unzoomed
            ('denoised:mine', 'decomposed:best@fine4')
        """
        variant = "" if self.variant is None else f":{self.variant}"
        return f"{self.base}{variant}{'' if self.fine == 1 else f'@fine{self.fine}'}"

    @property
    def full(self) -> str:
        """The whole name.

        Examples:
            >>> parse_name("srt-tiles@2x+sincos1").full, parse_name("decomposed:best@fine4+position0.5").full
            ('srt-tiles+sincos1', 'decomposed:best@fine4+position0.5')
        """
        stem = self.unzoomed
        if self.tiles:
            stem = "tiles" if stem == "raw" else f"{stem}-tiles"
        zoom = "" if self.zoom == (2 if self.tiles else 1) else f"@{self.zoom}x"
        return f"{stem}{zoom}{'' if self.position is None else self.position.suffix}"


def parse_names(names: Sequence[str]) -> list[MethodName]:
    """The names of a table, parsed.

    Raises:
        ConfigError: an unknown name, a name given twice, or an unknown quality.
    """
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"method=[{','.join(names)}]: give at least one method, and each once. {_KNOWN}")
    parsed = [parse_name(name) for name in names]
    for name, each in zip(names, parsed, strict=True):
        if each.base == "decomposed" and each.variant is not None and each.variant not in qualities():
            raise ConfigError(
                f"method {name!r}: there is no quality {each.variant!r}: give one of {', '.join(qualities())}."
            )
    return parsed


def parse_name(name: str) -> MethodName:
    """A name, parsed; the quality or denoiser that it names need not exist.

    Raises:
        ConfigError: an unknown name.

    Examples:
        >>> parse_name("srt-tiles@3x")
        MethodName(base='srt', variant=None, tiles=True, zoom=3, fine=1, position=None)
    """
    match = _NAME.fullmatch(f"raw-{name}" if name.startswith("tiles") else name)
    if match is None or match["base"] not in BASES:
        raise _unknown(name)
    base, variant, tiles = match["base"], match["variant"], match["tiles"] is not None
    zoom = int(match["zoom"] or (2 if tiles else 1))
    fine = int(match["fine"] or 1)
    if (match["zoom"] and zoom < 2) or (match["fine"] and (fine < 2 or tiles)):
        raise _unknown(name)
    if fine > 1 and base not in FINER:
        raise ConfigError(f"method {name!r}: {base} has no features finer than a patch; {' and '.join(FINER)} have.")
    if variant is not None and base not in _VARIED:
        raise ConfigError(f"method {name!r}: {base} has no variants; {', '.join(_VARIED)} have.")
    position = None
    if match["kind"]:
        kind = PositionKind.removed if match["kind"] == "position" else PositionKind.sincos
        position = Position(kind, float(match["share"]))
    parsed = MethodName(base, variant, tiles, zoom, fine, position)
    if position is not None and position.kind is PositionKind.removed and not _has_removed(parsed):
        what = "raw features have nothing removed" if base == "raw" else "G belongs to patches that are not averaged"
        raise ConfigError(f"method {name!r}: {what}. Leave out {position.suffix}, or give +sincos{position.share:g}.")
    return parsed


def _has_removed(name: MethodName) -> bool:
    """Whether a method can say what it removed, on the patches that it gives."""
    return name.base != "raw" and (name.base != "decomposed" or name.zoom == 1)


def finer_names(names: Sequence[str], fine: int) -> list[str]:
    """The names with `@fine4` added to every method that can give features finer than a patch.

    Args:
        names: of a table.
        fine: cells per patch along each side; 1 changes nothing.

    Raises:
        ConfigError: a name that says another number of cells, or no method that can be finer.

    Examples:
        >>> finer_names(["raw", "srt", "decomposed:fast"], 4)
        ['raw', 'srt@fine4', 'decomposed:fast@fine4']
    """
    if fine == 1:
        return list(names)
    parsed = parse_names(names)
    given = f"fine={fine} method=[{','.join(names)}]"
    able = [each.base in FINER and each.zoom == 1 and not each.tiles for each in parsed]
    for name, each in zip(names, parsed, strict=True):
        if each.fine not in (1, fine):
            raise ConfigError(f"{given}: {name} says another number of cells. Give one of the two.")
    if not any(able):
        raise ConfigError(f"{given}: none of these has features finer than a patch; {' and '.join(FINER)} have.")
    finer = [replace(each, fine=fine).full for each in parsed]
    return [new if can else name for name, new, can in zip(names, finer, able, strict=True)]


def positioned_names(names: Sequence[str], share: float, kind: PositionKind) -> list[str]:
    """The names with `+position0.5`, or `+sincos0.5`, added to every method that cleans features.

    Args:
        names: of a table.
        share: of the position; 0 changes nothing.
        kind: what is added.

    Raises:
        ConfigError: a share that is not in [0, 1] or has more than four decimals, a name that says another position,
            or no method that it can be added to.

    Examples:
        >>> positioned_names(["raw", "tiles", "decomposed:fast"], 0.5, PositionKind.sincos)
        ['raw', 'tiles', 'decomposed:fast+sincos0.5']
    """
    if not (0 <= share <= 1 and round(share, 4) == share):
        raise ConfigError(f"position={share}: give a number from 0 to 1, with at most four decimals.")
    if share == 0:
        return list(names)
    position, parsed = Position(kind, share), parse_names(names)
    given = f"position={share} position_kind={kind} method=[{','.join(names)}]"
    able = [each.base != "raw" and (kind is PositionKind.sincos or _has_removed(each)) for each in parsed]
    for name, each in zip(names, parsed, strict=True):
        if each.position not in (None, position):
            raise ConfigError(f"{given}: {name} says another position. Give one of the two.")
    if not any(able):
        raise ConfigError(f"{given}: none of these has features that position was removed from.")
    added = [replace(each, position=position).full for each in parsed]
    return [new if can else name for name, new, can in zip(names, added, able, strict=True)]


def named_method(name: MethodName, makers: Mapping[str, Callable[[MethodName], Method]]) -> Method:
    """The method with a name.

    Args:
        name: of the method.
        makers: by base: makes the method of a name, without its zoom and position; decomposed has G added already.
    """
    if name.position is not None and name.position.kind is PositionKind.sincos:
        return WithSinCos(named_method(replace(name, position=None), makers), name.position.share)
    if name.position is not None and name.base != "decomposed":
        raw = named_method(MethodName("raw", tiles=name.tiles, zoom=name.zoom), makers)
        return WithRemoved(named_method(replace(name, position=None), makers), raw, name.position.share)
    method = makers[name.base](name)
    if name.tiles:
        return Tiles(method, name.zoom)
    return Enlarged(method, name.zoom) if name.zoom > 1 else method


def is_zoom(name: str) -> bool:
    """Whether a name is that of a zoom baseline: raw features of the enlarged image, or of its tiles.

    Examples:
        >>> [name for name in ("raw", "raw@2x", "tiles", "srt-tiles", "raw+sincos1") if is_zoom(name)]
        ['raw@2x', 'tiles']
    """
    return family(name) is Family.raw and parse_name(name).zoom > 1 and parse_name(name).position is None


def family(name: str) -> Family:
    """The kind of the method with a name.

    Examples:
        >>> [family(name).name for name in ("tiles", "srt@2x", "decomposed:fast", "denoised", "my own")]
        ['raw', 'ensemble', 'decomposed', 'trained', 'other']
    """
    try:
        base = parse_name(name).base
    except ConfigError:  # a name that the caller of dvt.evaluate chose
        return Family.other
    if base in TRAINED:
        return Family.trained
    return Family[base] if base in Family.__members__ else Family.ensemble


def _unknown(name: str) -> ConfigError:
    return ConfigError(f"there is no method {name!r}. {_KNOWN}")
