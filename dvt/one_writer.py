"""One process at a time writes to a folder."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from errno import EACCES, EAGAIN
from pathlib import Path
from typing import Final

from dvt.errors import ConfigError
from dvt.files import disk_errors, short_name

try:
    import fcntl
except ImportError:  # Windows: no lock, two processes may write to one folder
    fcntl = None  # type: ignore[assignment]

LOCK: Final = ".lock"
"""Name of the lock in a folder that one process writes."""

_HELD = frozenset({EACCES, EAGAIN})
_own: set[Path] = set()
"""Locks that this process holds: the system would give them to it again."""


@contextmanager
def one_writer(lock: Path, out: str | Path) -> Iterator[None]:
    """Hold a lock while the block runs; refuse the block while another process holds it.

    The system lets go of the lock when the process ends in whatever way, so a lock file that was left behind does not
    block. Folders are made where they are missing, and removed again if they stay empty. Where the file system knows no
    locks, nothing is refused.

    Args:
        lock: the lock file.
        out: what is written, for the error.

    Raises:
        ConfigError: another process, or another thread of this one, writes there.
        DiskError: the lock file cannot be made.

    Examples:
        >>> with one_writer(Path("runs/a/.lock"), "runs/a"), one_writer(Path("runs/a/.lock"), "runs/a"):
        ...     pass
        Traceback (most recent call last):
        dvt.errors.ConfigError: out=runs/a is being written by this process: ...
        >>> Path("runs/a").exists()
        False
    """
    lock = lock.absolute()
    if lock in _own:
        raise ConfigError(f"out={out} is being written by this process: wait until that ends, or give another out.")
    made = [folder for folder in lock.parents if not folder.exists()]
    with disk_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(lock, out)
    _own.add(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        _own.discard(lock)
        os.close(file)
        with suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


def lock_beside(out: Path) -> Path:
    """The lock of a single file that is written."""
    return out.with_name(f".{short_name(out.name)}{LOCK}")


def _locked(lock: Path, out: str | Path) -> int:
    """Open and lock the file; returns its descriptor.

    Raises:
        ConfigError: another process holds the lock.
        OSError: the file cannot be made.
    """
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                holder = os.read(file, 1000).decode(errors="replace").strip()
                os.close(file)
                raise ConfigError(
                    f"out={out} is being written by another process{f' ({holder})' if holder else ''}: wait until it"
                    " ends, stop it, or give another out."
                ) from None
            return file  # a file system without locks
        try:
            is_there = os.fstat(file).st_ino == lock.stat().st_ino
        except FileNotFoundError:
            is_there = False
        if is_there:
            _sign(file)
            return file
        os.close(file)  # the holder before has just deleted it


def _sign(file: int) -> None:
    """Write whose lock it is, for the error of the next; on a full disk it holds without that."""
    started = datetime.now().astimezone().isoformat(" ", "seconds")
    with suppress(OSError):
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}, since {started}\n".encode())
