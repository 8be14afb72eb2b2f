"""Images that are turned upright when they are read, while their labels are read as they are."""

import logging
from pathlib import Path

from dvt.images.read import orientation_of

_log = logging.getLogger(__name__)
_of_folder: dict[Path, str] = {}
"""The warning of each folder."""
_ADVICE = "labels are read as they are. Save the image upright, or turn the labels as well"


def turned_text(image: Path) -> str:
    """A sentence for the error about labels of another size; empty where the image is upright.

    Raises:
        ImageError: the image cannot be opened.
    """
    turn = orientation_of(image)
    return "" if turn == 1 else f" {image} is turned upright by its EXIF orientation ({turn}); {_ADVICE}."


def warn_if_turned(image: Path) -> None:
    """Warn of an image whose labels may not fit it though they have its size, once for its folder.

    Raises:
        ImageError: the image cannot be opened.
    """
    if text := turned_text(image):
        _of_folder.setdefault(image.parent, text)
        if _of_folder[image.parent] is text:
            _log.warning("labels:%s Others in its folder may be turned too.", text)
