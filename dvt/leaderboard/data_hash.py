"""The hash of a folder of data: of the names and the content of all its files."""

import hashlib
import os
from pathlib import Path

from dvt.errors import EvaluationError
from dvt.files import parse_json, sha256_of_file, to_json, write_atomic


def hash_of_data(folder: Path, known: Path | None) -> str:
    """Hex SHA-256 of a folder: hidden files left out, the same on every machine.

    Reading everything takes long, so results are kept in `known`, by names, sizes and times of change.

    Args:
        folder: the data.
        known: the JSON file of earlier results, made where it is missing; None: everything is read.

    Raises:
        EvaluationError: there is no such folder, or a file cannot be read.
        DiskError: `known` cannot be written.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.txt").write_text("one")
        >>> first = hash_of_data(folder, folder / ".known.json")
        >>> _ = (folder / "a.txt").write_text("another")
        >>> hash_of_data(folder, folder / ".known.json") == first
        False
    """
    try:
        files = _files(folder)
        about = [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in files]
        listing = hashlib.sha256(repr(about).encode(errors="surrogateescape")).hexdigest()
        before = {} if known is None else _read(known)
        if listing not in before:
            digest = hashlib.sha256()
            for name, path in files:
                digest.update(f"{name}\0{sha256_of_file(path)}\n".encode(errors="surrogateescape"))
            before[listing] = digest.hexdigest()
    except OSError as error:
        raise EvaluationError(f"data={folder} cannot be read: {error.strerror or error}.") from error
    if known is not None:
        write_atomic(known, to_json(before).encode())
    return before[listing]


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Name and path of every file that is not hidden, by name."""
    found = []
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted((path.relative_to(folder).as_posix(), path) for path in found)


def _raise(error: OSError) -> None:
    raise error


def _read(known: Path) -> dict[str, str]:
    try:
        found = parse_json(known.read_bytes())
    except (OSError, ValueError):  # none yet, or damaged: everything is read again
        return {}
    return found if isinstance(found, dict) else {}
