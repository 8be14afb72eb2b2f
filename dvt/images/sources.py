"""find_images: a file, folder, glob, list file or sequence of those -> image files with stable keys."""

import glob
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from dvt.errors import ImageError
from dvt.images.formats import IMAGE_EXTENSIONS, extension_counts, has_image_extension
from dvt.paths import expand_home

_log = logging.getLogger(__name__)

_LIST_EXTENSIONS = (".txt", ".lst")
_LOOKED_FOR = f"Looked for {' '.join(IMAGE_EXTENSIONS)}."


@dataclass(frozen=True)
class ImageFile:
    """An image file and its key in a store."""

    key: str
    """POSIX path with extension, relative to the given folder, glob or list; never absolute, never with `..`."""
    path: Path
    """Path of the file."""


def find_images(spec: str | Path | Sequence[str | Path]) -> list[ImageFile]:
    """List image files with stable keys. Files are not opened.

    The key of a file does not depend on the working directory or on where the images are. It is relative to

    * the folder, for a folder (searched with its subfolders; hidden files and folders are left out, and files with
      other extensions are counted in a warning);
    * the part before the first wildcard, for a glob such as `photos/**/*.jpg`;
    * its own folder, for one file: the key is its name;
    * the list's folder, for a list file (`.txt`, `.lst`; a path per line, `#` starts a comment). Relative lines start
      at that folder. Absolute lines, and lines that lead out of it, are relative to the common parent of all files.

    Each part of a sequence has its own keys. Folders and globs are sorted by key, lists and sequences keep their order.
    A leading `~` is the home folder. A file that is found twice is kept once, under its first key.

    Raises:
        ImageError: nothing there, nothing found, a listed file is missing, or two files have the same key.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "cats").mkdir()
        >>> for name in ("cats/tom.png", "a.jpg"):
        ...     Image.new("RGB", (8, 8)).save(folder / name)
        >>> [file.key for file in find_images(folder)]
        ['a.jpg', 'cats/tom.png']
    """
    if isinstance(spec, (str, Path)):
        return _unique(_find(spec))
    if not isinstance(spec, Sequence) or not all(isinstance(part, (str, Path)) for part in spec):
        raise ImageError(f"{spec!r} is not a list of images. Give a file, folder, glob, list file, or a list of those.")
    if not spec:
        raise ImageError("the list of images is empty. Give at least one file, folder, glob or list file.")
    return _unique([image for part in spec for image in _find(part)])


def _find(spec: str | Path) -> list[ImageFile]:
    if not str(spec).strip():
        raise ImageError("the images were given as an empty text. Give a file, folder, glob or list file; '.' is here.")
    path = expand_home(spec)
    if _is_folder(path):
        return _in_folder(path)
    if path.exists():
        return _in_list(path) if path.suffix.lower() in _LIST_EXTENSIONS else [_image_file(path.name, path)]
    if glob.has_magic(str(path)):
        return _in_glob(path)
    where = "" if path.is_absolute() else f" in {Path.cwd()}"
    raise ImageError(f"{path} does not exist{where}. Expected an image file, a folder, a glob or a list file.")


def _is_folder(path: Path) -> bool:
    """Whether the path is a folder, links followed.

    Raises:
        ImageError: this user may not look there, or the name is impossible; `path.exists()` raises nothing after this.
    """
    try:
        path.exists()
        return path.is_dir()
    except UnicodeEncodeError as error:
        raise ImageError(_name_fault(path)) from error
    except OSError as error:
        raise ImageError(f"{path} cannot be looked at: {error.strerror}. Give a path this user may read.") from error


def _in_folder(folder: Path) -> list[ImageFile]:
    files = list(_walk(folder, ancestors=()))
    images = [path for path in files if has_image_extension(path)]
    if not files:
        raise ImageError(f"the folder {folder} is empty, or holds only hidden files. Give a folder with images.")
    if not images:
        raise ImageError(
            f"the folder {folder} holds no images, but other files: {extension_counts(files)}."
            f" {_LOOKED_FOR} Files with other names can be given in a list file."
        )
    _say_left_out(folder, files, images)
    return _relative_to(folder, images)


def _walk(folder: Path, ancestors: tuple[Path, ...]) -> Iterator[Path]:
    """All files below a folder except hidden ones. Links to folders are followed, except back to a folder above."""
    real = folder.resolve()
    if real in ancestors:
        return
    try:
        with os.scandir(folder) as entries:
            visible = [(Path(entry.path), entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise ImageError(
            f"the folder {folder} cannot be read: {error.strerror}. Give one this user may read."
        ) from error
    for path, is_folder in visible:
        if is_folder:
            yield from _walk(path, (*ancestors, real))
        else:
            yield path


def _in_glob(pattern: Path) -> list[ImageFile]:
    parts = pattern.parts
    first_magic = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    folder = Path(*parts[:first_magic])
    if ".." in parts[first_magic:]:
        raise ImageError(f"the glob {pattern} has '..' after a wildcard. Write it without.")
    if not _is_folder(folder):
        raise ImageError(f"the glob {pattern} looks into the folder {folder}, which does not exist. Check the path.")
    try:
        found = [Path(name) for name in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207 (leaves hidden files out)
    except RecursionError as error:
        raise ImageError(f"the glob {pattern} has {len(parts)} parts, too many. Write it shorter.") from error
    files = [path for path in found if not _is_folder(path)]
    images = [path for path in files if has_image_extension(path)]
    if not found:
        raise ImageError(
            f"the glob {pattern} matches nothing in {folder}. '*' stands for part of one name, '**' for any folders,"
            " capitals count; a bracket that belongs to a name is written [[]."
        )
    if not images:
        raise ImageError(
            f"the glob {pattern} matches no images, but {len(found)} other files or folders (such as {min(found)})."
            f" {_LOOKED_FOR} To look inside folders, end it with '/**/*'."
        )
    _say_left_out(pattern, files, images)
    return _relative_to(folder, images)


def _say_left_out(where: Path, files: list[Path], images: list[Path]) -> None:
    if others := set(files).difference(images):
        count = "1 other file is" if len(others) == 1 else f"{len(others)} other files are"
        _log.warning("%s: %d images; %s left out: %s.", where, len(images), count, extension_counts(sorted(others)))


def _relative_to(folder: Path, paths: list[Path]) -> list[ImageFile]:
    images = [_image_file(path.relative_to(folder).as_posix(), path) for path in paths]
    return sorted(images, key=lambda image: image.key)


def _in_list(list_path: Path) -> list[ImageFile]:
    listed = _read_list_file(list_path)
    folder = _absolute(list_path.parent)
    parent = Path(os.path.commonpath([_absolute(path).parent for _, path in listed]))
    images = []
    for written, path in listed:
        below = not written.is_absolute() and _absolute(path).is_relative_to(folder)
        key = _absolute(path).relative_to(folder if below else parent).as_posix()
        images.append(_image_file(key, path))
    return images


def _read_list_file(list_path: Path) -> list[tuple[Path, Path]]:
    """Paths of a list in its order, each as written (`~` replaced) and as found from the list's folder."""
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
        try:
            is_folder = _is_folder(path)
        except ImageError as error:
            raise ImageError(f"{list_path}, line {number}: {error}") from error
        if is_folder:
            raise ImageError(f"{list_path}, line {number}: {path} is a folder. A list names files only, one a line.")
        if not path.exists():
            raise ImageError(
                f"{list_path}, line {number}: {path} does not exist. Correct the line or remove it;"
                " relative paths start at the folder of the list."
            )
        listed.append((written, path))
    if not listed:
        raise ImageError(f"the list {list_path} names no images. Write one path a line.")
    return listed


def _absolute(path: Path) -> Path:
    """Absolute and without `..`, links left as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.resolve would follow links)


def _image_file(key: str, path: Path) -> ImageFile:
    try:
        key.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ImageError(_name_fault(path)) from error
    assert key and ".." not in PurePosixPath(key).parts
    return ImageFile(key, path)


def _name_fault(path: Path) -> str:
    encoding = sys.getfilesystemencoding()
    if encoding == "utf-8":
        return f"the file name {str(path)!r} is not valid UTF-8. Rename the file."
    locale = " ".join(f"{name}={os.environ.get(name, '')}" for name in ("LC_ALL", "LANG"))
    return (
        f"the file name {str(path)!r} is not {encoding}, which the locale asks for ({locale}). Set PYTHONUTF8=1, or a"
        " locale such as LC_ALL=C.UTF-8."
    )


def _unique(images: list[ImageFile]) -> list[ImageFile]:
    """Each file once; two files with one key are refused, because a store identifies them by the key alone."""
    by_path: dict[Path, ImageFile] = {}
    real_folder = cache(Path.resolve)
    for image in images:
        by_path.setdefault(real_folder(image.path.parent) / image.path.name, image)
    by_key: dict[str, ImageFile] = {}
    for image in by_path.values():
        other = by_key.setdefault(image.key, image)
        if other is not image:
            raise ImageError(
                f"two files have the same key {image.key!r}: {other.path} and {image.path}."
                " Give a folder or a glob that contains both, or a list file with different lines."
            )
    return list(by_path.values())
