"""How far a run over images is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

if TYPE_CHECKING:
    from dvt.decomposition.run_list import Progress as RunProgress

_LINE_EVERY_S = 10.0


class ProgressLine:
    """Images done, images per second and time left, on stderr."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
        )
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("decompose", total=None, pace="")
        self._start_s = self._last_line_s = time.monotonic()

    def update(self, progress: "RunProgress", key: str) -> None:
        """Show the state of a run; called after every image."""
        now = time.monotonic()
        finished = progress.done + len(progress.failed)
        if not key:  # the run begins: scanning the store does not count
            self._start_s = self._last_line_s = now
        left = progress.total - progress.skipped - finished
        pace = _pace(finished, left, now - self._start_s)
        self._bar.update(self._task, total=progress.total, completed=progress.total - left, pace=pace)
        if self._bar.disable and key and now - self._last_line_s >= _LINE_EVERY_S:
            self._last_line_s = now
            print(f"{progress.total - left}/{progress.total} {pace}", file=sys.stderr, flush=True)

    def __enter__(self) -> "ProgressLine":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()


def _pace(finished: int, left: int, seconds: float) -> str:
    if not finished or seconds <= 0:
        return ""
    rate = finished / seconds
    eta_s = round(left / rate)
    clock = f"{eta_s // 3600}:{eta_s // 60 % 60:02d}:{eta_s % 60:02d}"
    return f"{rate:.2f} images/s, {clock} left"
