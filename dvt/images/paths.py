"""What a path is, asked without surprises: no error escapes but ours."""

from enum import Enum
from pathlib import Path

from dvt.errors import ImageError


class PathKind(Enum):
    """What is found at a path."""

    NOTHING = "nothing"
    FOLDER = "folder"
    FILE = "file"


def kind_of(path: Path) -> PathKind:
    """What is at the path, links followed.

    Raises:
        ImageError: this user may not look there, or the name is impossible.
    """
    try:
        if path.is_dir():
            return PathKind.FOLDER
        return PathKind.FILE if path.exists() else PathKind.NOTHING
    except OSError as error:
        raise ImageError(f"{path} cannot be looked at: {error.strerror}. Give a path this user may read.") from error


def expand_home(path: str | Path) -> Path:
    """The path with a leading `~` or `~user` replaced; a file that is merely called `~something` is left alone."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user
        return Path(path)
