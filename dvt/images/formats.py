"""Which files are read as images: formats, extensions, size limit. A light module, for command line options too."""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

MAX_PIXELS = 100_000_000
"""The default of `max_pixels`: larger images are refused before they are decoded."""

_EXTENSIONS_BY_FORMAT = {
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2",),
    "AVIF": (".avif",),
}
_HEIF_EXTENSIONS = (".heic", ".heif")

PILLOW_FORMATS = tuple(_EXTENSIONS_BY_FORMAT)
"""The Pillow decoders that may run. Others start programs (EPS) or read documents (PDF)."""

IMAGE_EXTENSIONS = tuple(extension for names in _EXTENSIONS_BY_FORMAT.values() for extension in names)
"""Extensions searched for in folders and globs, lower case, with the dot; capitals match too."""


HEIF_HINT = "pip install pillow-heif"
"""What makes HEIC images readable, those of most telephones."""


@cache
def has_heif() -> bool:
    """Whether HEIC images can be read."""
    return find_spec("pillow_heif") is not None


def has_image_extension(path: Path) -> bool:
    """Whether the extension is that of a readable image; capitals do not matter."""
    extension = path.suffix.lower()
    return extension in IMAGE_EXTENSIONS or (extension in _HEIF_EXTENSIONS and has_heif())


def extension_counts(paths: Iterable[Path]) -> str:
    """How many files there are of each extension, in words.

    Examples:
        >>> extension_counts([Path("a.DNG"), Path("b.csv"), Path("c.csv"), Path("LICENSE")])
        '2 .csv, 1 .dng, 1 without extension'
    """
    counts = Counter(path.suffix.lower() for path in paths).most_common()
    hints = dict.fromkeys(_HEIF_EXTENSIONS, f" ({HEIF_HINT} reads them)")
    return ", ".join(f"{count} {name or 'without extension'}{hints.get(name, '')}" for name, count in counts)
