"""Checks that a node shares the driver's filesystem before work starts."""

import time
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from dvt.errors import EngineError
from dvt.files import TEMP_SUFFIX, disk_errors
from dvt.store.folder import claim

PATIENCE_S = 10.0
"""How long a network filesystem may take to show a new file."""


class StoreMarker:
    """A file in the store's folder: a worker that sees it works on the same folder. Removed at the end of the block.

    It is named like a temporary file, so `dvt store clean` removes it after a killed driver.
    """

    def __init__(self, store: Path) -> None:
        self.path = store / f".driver-{uuid4().hex[:8]}{TEMP_SUFFIX}"

    def write(self) -> None:
        """Write the file, or write it again: `dvt store clean` goes by its age.

        Raises:
            StoreError: the folder is a file, holds something else, or cannot be written.
        """
        claim(self.path.parent)
        with disk_errors(self.path):
            self.path.write_bytes(b"")

    def __enter__(self) -> "StoreMarker":
        self._made_folder = not self.path.parent.exists()
        self.write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with disk_errors(self.path):
            self.path.unlink(missing_ok=True)
            if self._made_folder and not any(self.path.parent.iterdir()):
                self.path.parent.rmdir()  # no worker created the store


def wait_until_visible(path: Path, what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until a file or folder exists on this node.

    Args:
        path: file or folder.
        what: its name in the error.
        patience_s: time limit in seconds.

    Raises:
        EngineError: it does not appear in time.
    """
    deadline_s = time.monotonic() + patience_s
    while not _exists(path):
        if time.monotonic() >= deadline_s:
            raise EngineError(
                f"{what} is not visible: put it on a filesystem that all nodes share, at the same path, or leave this"
                " node out."
            )
        time.sleep(0.2)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # no permission
        return False
