"""Pictures to files: whole or not at all, and the same bytes for the same picture."""

import os
from pathlib import Path

from PIL import Image

from dvt.errors import DvtError

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def save_png(image: Image.Image, path: str | Path) -> None:
    """Write a picture as PNG, or as JPEG where the name ends so. Missing folders are made.

    The file appears when it is complete. It carries no metadata, so equal pictures give equal bytes.

    Args:
        image: the picture; JPEG drops transparency.
        path: ends in .png, .jpg or .jpeg; an existing file is replaced.

    Raises:
        DvtError: another ending, or the file cannot be written.
    """
    path = Path(path)
    file_format = _FORMATS.get(path.suffix.lower())
    if file_format is None:
        raise DvtError(f"{path} ends in {path.suffix or 'no suffix'!r}. Give a name that ends in .png or .jpg.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(image, temporary, file_format)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DvtError(f"{path} cannot be written: {error.strerror or error}. Give another place.") from error


def _write(image: Image.Image, path: Path, file_format: str) -> None:
    bare = image.convert("RGB") if file_format == "JPEG" else image.copy()
    bare.info = {}
    # Subsampled colour would smear letters and patches; PNG has neither quality nor subsampling and ignores them.
    bare.save(path, file_format, quality=95, subsampling=0)
