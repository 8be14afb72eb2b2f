"""Which files are read as images: formats, extensions, size limit. A light module, for command line options too."""

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
}

PILLOW_FORMATS = tuple(_EXTENSIONS_BY_FORMAT)
"""The Pillow decoders that may run. Others start programs (EPS) or read documents (PDF)."""

IMAGE_EXTENSIONS = tuple(extension for names in _EXTENSIONS_BY_FORMAT.values() for extension in names)
"""Extensions searched for in folders and globs, lower case, with the dot; capitals match too."""


def has_image_extension(path: Path) -> bool:
    """Whether the extension is that of a readable image; capitals do not matter."""
    return path.suffix.lower() in IMAGE_EXTENSIONS
