"""Does a node see the same files as the driver: asked before the work, since it cannot be mended during it."""

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from dvt.errors import EngineError
from dvt.files import TEMP_SUFFIX, disk_errors
from dvt.store.folder import claim

PATIENCE_S = 10.0
"""How long a network file system may take to show a new file."""


class Token:
    """A file in the folder of a store by which a worker knows that it sees the same folder; gone with the block.

    It is named like a temporary file: where a driver dies, `dvt store clean` removes it.
    """

    def __init__(self, store: Path) -> None:
        self.path = store / f".driver-{uuid4().hex[:8]}{TEMP_SUFFIX}"
        """Where it lies."""

    def place(self) -> None:
        """Write it, again if it is there: `dvt store clean` goes by its age.

        Raises:
            StoreError: the folder is a file, holds something else, or cannot be written.
        """
        claim(self.path.parent)
        with disk_errors(self.path):
            self.path.write_bytes(b"")

    def __enter__(self) -> "Token":
        self._made_folder = not self.path.parent.exists()
        self.place()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with disk_errors(self.path):
            self.path.unlink(missing_ok=True)
            if self._made_folder and not any(self.path.parent.iterdir()):
                self.path.parent.rmdir()  # no worker got as far as to make the store


def check_sees(
    path: Path,
    what: str,
    *,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until a file or folder is there.

    Args:
        path: what is looked for.
        what: how the error calls it.
        patience_s: how long to look.
        clock: seconds from any start; for tests.
        sleep: waits; for tests.

    Raises:
        EngineError: it does not show up.
    """
    until_s = clock() + patience_s
    while not _is_there(path):
        if clock() >= until_s:
            raise EngineError(
                f"{what} cannot be seen from here: put it on a file system that all nodes share, at the same path, or"
                " leave this node out."
            )
        sleep(0.2)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # this user may not look there
        return False
