"""Text files that list images, one path a line."""

from pathlib import Path

from dvt.errors import ImageError
from dvt.images.paths import PathKind, expand_home, kind_of

_LIST_EXTENSIONS = (".txt", ".lst")


def is_list_file(path: Path) -> bool:
    """Whether the name ends like a list of images."""
    return path.suffix.lower() in _LIST_EXTENSIONS


def read_list_file(list_path: Path) -> list[tuple[Path, Path]]:
    """The files that a list names, in its order; blank lines and lines that start with `#` are comments.

    Returns:
        Pairs of the path as written (`~` replaced) and where it leads: relative lines start at the list's folder.

    Raises:
        ImageError: the list cannot be read or names nothing, or a line does not lead to a file.
    """
    try:
        text = list_path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ImageError(
            f"the list {list_path} cannot be read: {error.strerror}. Give one this user may read."
        ) from error
    except UnicodeDecodeError as error:
        raise ImageError(f"the list {list_path} is not UTF-8 text. Expected one path a line.") from error
    listed = []
    for number, line in enumerate(text.split("\n"), start=1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        written = expand_home(entry)
        path = list_path.parent / written
        kind = kind_of(path)
        if kind is PathKind.FOLDER:
            raise ImageError(f"{list_path}, line {number}: {path} is a folder. A list names files only, one a line.")
        if kind is PathKind.NOTHING:
            raise ImageError(
                f"{list_path}, line {number}: {path} does not exist. Correct the line or remove it;"
                " relative paths start at the folder of the list."
            )
        listed.append((written, path))
    if not listed:
        raise ImageError(f"the list {list_path} names no images. Write one path a line.")
    return listed
