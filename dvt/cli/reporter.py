"""The reporter of the command line: a bar on a terminal, a line every few seconds elsewhere; on stderr."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

_LINE_EVERY_S = 10.0


class TerminalReporter:
    """A `Reporter` that shows units done, units per second and time left.

    Args:
        shown: False in processes that stay silent (ranks other than 0).
    """

    def __init__(self, shown: bool = True) -> None:
        self._shown = shown
        self._console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
        )
        self._bar = Progress(*columns, console=self._console, disable=not (shown and self._console.is_terminal))
        self._task = self._bar.add_task("", total=None, pace="")
        self._name, self._unit, self._total, self._completed = "", "", 0, 0
        self._start_s = self._line_s = time.monotonic()

    def __enter__(self) -> "TerminalReporter":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.done()

    def start(self, total: int, unit: str, task: str = "") -> None:
        """A piece of work begins; its pace is measured from here."""
        self._name, self._unit, self._total, self._completed = task, unit, total, 0
        self._start_s = self._line_s = time.monotonic()
        self._bar.update(self._task, description=task, total=total, completed=0, pace="")

    def advance(self, count: int = 1, note: str = "") -> None:
        """Units are done."""
        self._completed += count
        now_s = time.monotonic()
        text = ", ".join(filter(None, (note, self._pace(now_s - self._start_s))))
        self._bar.update(self._task, completed=self._completed, pace=text)
        if self._shown and self._bar.disable and now_s - self._line_s >= _LINE_EVERY_S:
            self._line_s = now_s
            name = f"{self._name}: " if self._name else ""
            print(f"{name}{self._completed}/{self._total} {text}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """A line that stays."""
        if not self._shown:
            return
        if self._bar.disable:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(text, highlight=False, markup=False)

    def done(self) -> None:
        """Remove the bar."""
        self._bar.stop()

    def _pace(self, seconds: float) -> str:
        if not self._completed or seconds <= 0:
            return ""
        rate = self._completed / seconds
        left_s = round(max(self._total - self._completed, 0) / rate)
        clock = f"{left_s // 3600}:{left_s // 60 % 60:02d}:{left_s % 60:02d}"
        return f"{rate:.2f} {self._unit}/s, {clock} left"
