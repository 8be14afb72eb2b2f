"""Images one after another: a queue, a thread that computes, progress, cancellation, results kept for a while."""

import json
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from dvt.errors import DvtError
from dvt.view.offer import Choice, layers_text, size_text

MAX_WAITING: Final = 16
"""Jobs in the queue; more are refused."""
MAX_KEPT: Final = 24
"""Jobs that are kept after their end, for a page that is loaded again."""
MAX_KEPT_BYTES: Final = 256_000_000
"""Images and results of these jobs."""

_log = logging.getLogger(__name__)


class State(str, Enum):
    """How far a job is."""

    waiting = "waiting"
    running = "running"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self not in (State.waiting, State.running)


class CancelledError(Exception):
    """Raised by the reporter of a job that was cancelled; it ends the work."""


class QueueFullError(DvtError):
    """Too many jobs wait."""


@dataclass(eq=False, kw_only=True)
class Job:
    """An image, what was chosen for it, and what became of it. It is also the `Reporter` of its work."""

    name: str
    """Name of the image."""
    content: bytes | Path
    """The file: what was sent, or where it is on this machine."""
    choice: Choice
    """What is to be computed."""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    """Cannot be guessed: whoever knows it may see the result."""
    state: State = State.waiting
    """How far it is."""
    error: str = ""
    """Why it failed, for the person at the page."""
    version: int = 0
    """Number of results so far; each replaces the one before."""
    result: bytes = b""
    """Data of the explorer, as JSON."""
    task: str = ""
    """What is done at the moment."""
    unit: str = ""
    """What is counted."""
    completed: int = 0
    """Units that are done."""
    total: int = 0
    """Units of the task."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set when it is to end."""

    def start(self, total: int, unit: str, task: str = "") -> None:
        """A piece of work begins."""
        self.check()
        self.task, self.unit, self.total, self.completed = task, unit, total, 0

    def advance(self, count: int = 1, note: str = "") -> None:
        """Units are done."""
        self.completed += count
        self.check()

    def note(self, text: str) -> None:
        """Ignore."""

    def done(self) -> None:
        """Ignore."""

    def check(self) -> None:
        """End the work of a job that was cancelled.

        Raises:
            CancelledError: it was.
        """
        if self.stopped.is_set():
            raise CancelledError

    @property
    def num_bytes(self) -> int:
        """Memory that it needs."""
        return len(self.result) + (len(self.content) if isinstance(self.content, bytes) else 0)


Work = Callable[[Job], Iterator[dict[str, Any]]]
"""Computes a job; yields data of the explorer, more complete each time."""


class Jobs:
    """Runs jobs one at a time, in the order in which they came.

    Args:
        work: computes a job, in the thread of this queue.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="dvt view", daemon=True)
        self._thread.start()

    def submit(self, job: Job, instead: Job | None = None) -> None:
        """Put a job at the end of the queue.

        Args:
            job: the job.
            instead: one whose place it takes, which is cancelled: nobody waits for it any more.

        Raises:
            QueueFullError: too many wait; `instead` goes on.
        """
        with self._changed:
            waiting = sum(each.state is State.waiting and each is not instead for each in self._jobs.values())
            if waiting >= MAX_WAITING:
                raise QueueFullError(f"{waiting} images wait already, and no more are taken. Try again in a moment.")
            if instead is not None:
                self._stop(instead)
            self._jobs[job.id] = job
            self._forget()
            self._changed.notify_all()

    def get(self, job_id: str) -> Job | None:
        """The job; None: it was never there, or is no longer kept."""
        with self._changed:
            return self._jobs.get(job_id)

    def cancel(self, job: Job) -> None:
        """End a job that waits or runs; what it has computed so far stays."""
        with self._changed:
            self._stop(job)

    def status(self, job: Job) -> dict[str, Any]:
        """What a page needs to know of a job, as plain JSON."""
        with self._changed:
            before = list(self._jobs.values())
            ahead = sum(not each.state.ended for each in before[: before.index(job)]) if job in before else 0
        choice = job.choice
        return {
            "id": job.id,
            "name": job.name,
            "state": job.state.value,
            "ahead": ahead,
            "error": job.error,
            "version": job.version,
            "task": job.task,
            "unit": job.unit,
            "completed": job.completed,
            "total": job.total,
            "backbone": choice.backbone,
            "layer": layers_text(choice.layers),
            "size": size_text(choice.image_hw),
            "methods": list(choice.methods),
        }

    def close(self, timeout_s: float = 10) -> None:
        """Cancel every job and wait for the thread, for some seconds: a forward pass cannot be interrupted."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.stopped.set()
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                for data in self._work(job):
                    job.result = json.dumps(data, separators=(",", ":"), allow_nan=False).encode()
                    job.version += 1
                    job.check()
                job.state = State.done
            except CancelledError:
                job.state = State.cancelled
            except DvtError as error:
                self._fail(job, str(error))
            except MemoryError:
                self._fail(job, "This needs more memory than there is. Choose a smaller size, or give a smaller image.")
            except Exception:  # the next image may be well
                _log.exception("%s of %s failed", job.name, job.choice)
                self._fail(job, "This is a fault of dvt, not of the image. The terminal that runs dvt view says more.")

    def _next(self) -> Job | None:
        """Wait for a job; None: the queue was closed."""
        with self._changed:
            while not self._closed:
                waiting = (job for job in self._jobs.values() if job.state is State.waiting)
                if (job := next(waiting, None)) is not None:
                    job.state = State.running
                    return job
                self._changed.wait()
            return None

    def _stop(self, job: Job) -> None:
        job.stopped.set()
        if job.state is State.waiting:
            job.state = State.cancelled

    def _fail(self, job: Job, text: str) -> None:
        job.error, job.state = text, State.failed

    def _forget(self) -> None:
        """Drop the oldest jobs that have ended, where there are too many."""
        ended = [job for job in self._jobs.values() if job.state.ended]
        num_bytes = sum(job.num_bytes for job in self._jobs.values())
        while ended and (len(ended) > MAX_KEPT or num_bytes > MAX_KEPT_BYTES):
            oldest = ended.pop(0)
            num_bytes -= oldest.num_bytes
            del self._jobs[oldest.id]
