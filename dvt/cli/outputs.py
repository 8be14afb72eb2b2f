"""Checks of output files, before anything is computed."""

import tempfile
from pathlib import Path

from dvt.errors import ConfigError
from dvt.paths import expand_home


def check_out(out: Path, image: Path) -> None:
    """Refuse an output image that cannot be written.

    Raises:
        ConfigError: a wrong ending, a folder that does not take files, or the input image itself.
    """
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        ending = out.suffix or "no suffix"
        raise ConfigError(
            f"out={out} ends in {ending}: give a name that ends in .png, .jpg or .html (a video: .mp4, .gif)."
        )
    if out.is_dir():
        raise ConfigError(f"out={out} is a folder: give the name of an image file.")
    check_writable(out, image)


def check_writable(out: Path, image: Path) -> None:
    """Refuse what would overwrite the input image, or a folder that does not take files.

    Raises:
        ConfigError: says which.
    """
    image = expand_home(image)
    if out.exists() and image.exists() and out.samefile(image):
        raise ConfigError(f"out={out} is the image itself: give another name, it would be overwritten.")
    folder = next(parent for parent in (out / "x").absolute().parents if parent.is_dir())
    reason = "Not a directory" if out.parent.exists() and not out.parent.is_dir() else None
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror
    if reason is not None:
        raise ConfigError(f"out={out} cannot be written ({reason}: {folder}): give another place.")
