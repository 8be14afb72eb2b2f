"""Atomic file writes (temporary file, fsync, rename), and values as plain JSON."""

import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch

from dvt.errors import DvtError, FileNameError

TEMP_SUFFIX = ".tmp"
"""Suffix of a file that is still being written."""

_FULL = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
_SHORT = 208
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_NO_FLUSH = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class DiskError(DvtError):
    """The disk is full or refuses writes: every further image would fail in the same way."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` raised while writing `path` into a `DiskError` that says what to do.

    Raises:
        DiskError: the disk is full or refuses.
        FileNameError: the file system takes no name of this length.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise FileNameError(f"the name of {path} is too long for this file system: give a shorter one.") from error
        if error.errno in _FULL:
            raise DiskError(
                f"no space left to write {path} ({error.strerror}). What is committed is safe:"
                " free space (or raise the quota or file size limit) and run the same command again."
            ) from error
        raise DiskError(
            f"cannot write {path} ({error.strerror}). What is committed is safe:"
            " fix the disk or the permissions and run the same command again."
        ) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Write or replace a file atomically: a reader or a crash sees all of it or none.

    Raises:
        DiskError: the disk is full or refuses; no temporary file is left.
    """
    with disk_errors(path), _written_aside(path, data) as temp:
        temp.replace(path)
        _sync_folder(path.parent)


def create_exclusive(path: Path, data: bytes) -> bool:
    """Write a file unless it exists; of several processes that try at once, one succeeds.

    Returns:
        True if this call wrote the file, False if it existed.

    Raises:
        DiskError: the disk is full or refuses; no temporary file is left.
    """
    with disk_errors(path), _written_aside(path, data) as temp:
        try:
            os.link(temp, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            # A file system without hard links (FAT, some network mounts): two processes may both pass this check.
            # The file is still complete, and the caller compares its content afterwards.
            if path.exists():
                return False
            temp.replace(path)
        _sync_folder(path.parent)
        return True


def move_into_place(temp: Path, path: Path) -> None:
    """Flush a temporary file on the same disk and rename it; an older file of that name is replaced.

    Raises:
        DiskError: the disk is full or refuses.
    """
    with disk_errors(path):
        with temp.open("rb+") as file:
            _flush(file.fileno())
        temp.replace(path)
        _sync_folder(path.parent)


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of a file, which may be larger than the memory.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def parse_json(text: str | bytes) -> Any:
    """Read JSON that may be damaged.

    Raises:
        ValueError: not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def plain(value: Any) -> Any:
    """The value as JSON holds it.

    Dataclasses and mappings become dicts, sequences and arrays lists, enums their value, paths texts, numbers of numpy
    and torch Python numbers, NaN and infinity None.

    Examples:
        >>> plain({"path": Path("a/b"), "loss": math.nan, "sizes": (1, np.int64(2))})
        {'path': 'a/b', 'loss': None, 'sizes': [1, 2]}

    Raises:
        TypeError: a value of another type, such as a function.
    """
    match value:
        case Enum():
            return plain(value.value)
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Path():
            return str(value)
        case np.generic() | np.ndarray() | torch.Tensor():
            return plain(value.tolist())
        case Mapping():
            return {str(name): plain(entry) for name, entry in value.items()}
        case list() | tuple():
            return [plain(entry) for entry in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value)}
    raise TypeError(f"{value!r} of type {type(value).__name__} has no plain JSON form")


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """The text of `plain(value)`, with a line break at its end.

    Raises:
        TypeError: a value that has no JSON form.
    """
    return json.dumps(plain(value), indent=indent, allow_nan=False) + "\n"


def short_name(name: str) -> str:
    """A file name that leaves room for a suffix: file systems take 255 bytes. Different names stay different.

    Examples:
        >>> short_name("a.png"), len(short_name("x" * 255))
        ('a.png', 208)
    """
    whole = os.fsencode(name)
    if len(whole) <= _SHORT:
        return name
    return f"{os.fsdecode(whole[: _SHORT - 9])}~{hashlib.sha256(whole).hexdigest()[:8]}".encode(
        errors="ignore"
    ).decode()


@contextmanager
def _written_aside(path: Path, data: bytes) -> Iterator[Path]:
    """A flushed temporary file beside `path`; deleted at the end of the block unless it was renamed."""
    temp = path.with_name(f".{short_name(path.name)}.{uuid4().hex[:8]}{TEMP_SUFFIX}")
    try:
        with temp.open("xb", buffering=0) as file:
            rest = memoryview(data)
            while rest:  # a raw write may stop early, for instance at a file size limit
                rest = rest[file.write(rest) :]
            _flush(file.fileno())
        yield temp
    finally:
        temp.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk where the system supports it."""
    with suppress(PermissionError):  # Windows cannot open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            _flush(descriptor)
        finally:
            os.close(descriptor)


def _flush(descriptor: int) -> None:
    """Flush a file or a folder to the disk; nothing happens on a file system that knows no flush.

    Raises:
        OSError: the disk fails.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise
