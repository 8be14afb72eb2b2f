"""Which kinds of image files are read, and the names they go by."""

from pathlib import Path

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
"""The decoders that may run: pictures only. Pillow's others start programs (EPS) or read documents (PDF)."""

IMAGE_EXTENSIONS = tuple(extension for names in _EXTENSIONS_BY_FORMAT.values() for extension in names)
"""File name endings looked for in folders and globs, lower case, with the dot; capitals are found too."""


def has_image_extension(path: Path) -> bool:
    """Whether the name ends like an image file that can be read."""
    return path.suffix.lower() in IMAGE_EXTENSIONS
