"""How far a run over images is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from dvt.cli.console import Seldom

if TYPE_CHECKING:
    from dvt.decomposition.outcome import Outcome


class _Line:
    """A bar on a terminal, a line every few seconds elsewhere; on stderr."""

    def __init__(self, description: str, shown: bool = True) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
        )
        self._bar = Progress(*columns, console=console, disable=not (shown and console.is_terminal))
        self._task = self._bar.add_task(description, total=None, pace="")
        self._line = Seldom()
        self._start_s = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def _restart(self) -> None:
        """What was before does not count."""
        self._line.restart()
        self._start_s = time.monotonic()

    def _show(self, completed: int, total: int, pace: str) -> None:
        self._bar.update(self._task, total=total, completed=completed, pace=pace)
        if self._bar.disable and self._line.due():
            print(f"{completed}/{total} {pace}", file=sys.stderr, flush=True)


class ProgressLine(_Line):
    """Images done, images per second and time left."""

    def __init__(self) -> None:
        super().__init__("decompose")

    def __enter__(self) -> "ProgressLine":
        self._bar.start()
        return self

    def update(self, progress: "Outcome", key: str) -> None:
        """Show the state of a run over images; called before the first and after every image."""
        if not key:  # the run begins: scanning the store does not count
            self._restart()
        finished, left = progress.done + len(progress.failed), progress.left
        pace = _pace(finished, left, time.monotonic() - self._start_s)
        self._show(progress.total - left, progress.total, pace)


def _pace(finished: int, left: int, seconds: float) -> str:
    if not finished or seconds <= 0:
        return ""
    rate = finished / seconds
    return f"{rate:.2f} images/s, {_clock(left / rate)} left"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
