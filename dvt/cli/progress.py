"""How far a run over images is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from math import isnan
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from dvt.cli.console import Seldom

if TYPE_CHECKING:
    from dvt.decomposition.outcome import Outcome
    from dvt.evaluation.result import TaskResult
    from dvt.training.callbacks import TrainingProgress


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


class TrainingLine(_Line):
    """Steps done, loss, images per second and time left."""

    def __init__(self, description: str, batch_size: int, shown: bool = True) -> None:
        super().__init__(description, shown)
        self._batch_size = batch_size

    def __enter__(self) -> "TrainingLine":
        self._bar.start()
        return self

    def update(self, progress: "TrainingProgress") -> None:
        """Show the state of a training; called after every step."""
        left_s = (progress.num_steps - progress.step) * self._batch_size / progress.samples_per_s
        loss = "" if isnan(progress.loss) else f"loss {progress.loss:.4g}, "
        pace = f"{loss}{progress.samples_per_s:.0f} images/s, {_clock(left_s)} left"
        self._show(progress.step, progress.num_steps, pace)


class TaskLine(_Line):
    """What a task does with a method: features, probe."""

    def __init__(self) -> None:
        super().__init__("evaluate")
        self._method = ""

    def __enter__(self) -> "TaskLine":
        self._bar.start()
        return self

    def begins(self, task: str, method: str) -> None:
        """A method begins."""
        self._restart()
        self._method = method
        self._bar.update(self._task, description=f"{task} {method}")

    def tell(self, what: str, done: int, total: int) -> None:
        """How far it is."""
        if done == 0:  # one part of the work after the other: each has a pace of its own
            self._restart()
        spent_s = time.monotonic() - self._start_s
        left = f"{_clock(spent_s / done * (total - done))} left" if done else ""
        self._show(done, total, f"{self._method} {what} {left}".rstrip())

    def ends(self, result: "TaskResult", method: str, known: bool) -> None:
        """A method was scored."""
        metric = result.metrics[0]
        from dvt.evaluation.table import cell

        text = f"{method}: {metric.name} {cell(result, method, metric)}"
        self._bar.console.print(f"{text}   (there already)" if known else text, highlight=False)


def _pace(finished: int, left: int, seconds: float) -> str:
    if not finished or seconds <= 0:
        return ""
    rate = finished / seconds
    return f"{rate:.2f} images/s, {_clock(left / rate)} left"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
