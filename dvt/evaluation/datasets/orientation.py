"""Images that are turned upright when they are read, while their labels are read as they are."""

import logging
from pathlib import Path

from dvt.images.read import orientation_of

_log = logging.getLogger(__name__)
_warned: set[Path] = set()
"""Folders that a warning has named."""
_ADVICE = "labels are read as they are. Save the image upright, or turn the labels as well"


def turned_text(image: Path) -> str:
    """A sentence for the error about labels of another size; empty where the image is upright.

    Raises:
        ImageError: the image cannot be opened.
    """
    turn = orientation_of(image)
    return "" if turn == 1 else f" {image} is turned upright by its EXIF orientation ({turn}); {_ADVICE}."


def warn_if_turned(image: Path, text: str) -> None:
    """Warn of an image whose labels may not fit it though they have its size, once for its folder.

    Args:
        image: the image.
        text: its `turned_text`.
    """
    if text and image.parent not in _warned:
        _warned.add(image.parent)
        _log.warning("labels:%s Others in its folder may be turned too.", text)
