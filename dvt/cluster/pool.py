"""Decompose a list of images on a pool of workers: crashed workers are replaced, and no image is lost.

Ray's own retries (`max_restarts`, `max_task_retries`) are not used. They bind an image to one actor, which never
starts again when its node is gone and no other has room; and the images that it had not committed stay unknown.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from dvt.cluster.worker import Answer, CheckedPart, Started
from dvt.decomposition.outcome import Outcome
from dvt.errors import DvtError, EngineError, first_line
from dvt.images import ImageFile
from dvt.progress import Reporter
from dvt.store.journal import FailureLog

MAX_CRASHES = 2
"""An image is set aside when this many workers crashed on it."""
GRACE_S = 20.0
"""Time that workers have to commit when a run is stopped, in seconds."""
SET_ASIDE = f"{MAX_CRASHES} workers crashed on it; the next run tries it again. Reason of the last one:"
"""Start of the failure that the store has for an image that was set aside."""
Method: TypeAlias = Literal["start", "check_store", "decompose", "commit"]
"""Methods of a `Worker`."""


def max_crashes_in_a_row(num_workers: int) -> int:
    """A run ends when more workers than this crash without an image done in between."""
    return 10 + MAX_CRASHES * num_workers


class WorkerCrashed(Exception):
    """A worker crashed, or its process can no longer be used; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Reply:
    """End of the oldest call of a worker."""

    worker: str
    """Name of the worker."""
    value: Started | CheckedPart | Answer | None = None
    """What the call returned."""
    error: DvtError | WorkerCrashed | None = None
    """What ended it instead."""


@runtime_checkable
class Pool(Protocol):
    """Processes that each have one `Worker` and run its calls in order."""

    def add(self, worker: str) -> None:
        """Start a process with a worker of that name, and call its `start`.

        Raises:
            StoreError: the folder of the store cannot be used.
        """

    def call(self, worker: str, method: Method, *arguments: Any) -> None:
        """Call a method of a worker; the result comes from `next_reply`."""

    def remove(self, worker: str) -> None:
        """End a process, crashed or not, and drop its calls."""

    def next_reply(self, timeout_s: float | None = None) -> Reply | None:
        """Wait for any call to end. None when none ended in time, or there are no calls."""


class PoolRun:
    """One run over a list of images: holds which image is where.

    First the workers check the store together, then they decompose what it lacks. A worker gets one image at a time. It
    commits when nothing is left to do, and before an image on which a worker crashed. When it crashes, its uncommitted
    images go back to the list.

    Args:
        pool: the workers.
        files: the images.
        store: folder of the store.
        name: of the run; start of the names of the workers.
        size: number of workers.
        outcome: updated during the run.
        reporter: shows the progress, and notes such as the crash of a worker.
    """

    def __init__(
        self,
        pool: Pool,
        files: Sequence[ImageFile],
        store: Path,
        name: str,
        size: int,
        outcome: Outcome,
        reporter: Reporter,
    ) -> None:
        self.about: Mapping[str, Any] | None = None
        """ViT and machine of the first worker that started."""
        self._pool, self._files, self._size, self._outcome, self._reporter = pool, files, size, outcome, reporter
        self._failures = FailureLog(store, name)
        self._names = (f"{name}-{number}" for number in count())
        self._calls: dict[str, deque[tuple[Method, Any]]] = {}  # of every worker: (method, argument), oldest first
        self._nodes: dict[str, str] = {}  # of the workers that have started
        self._refusals: list[str] = []
        self._parts = deque((index, size) for index in range(size))  # of the store, not checked yet
        self._stored: set[str] = set()  # keys in the parts that are checked
        self._todo: deque[ImageFile] = deque()  # empty until the store is checked
        self._uncommitted: dict[str, dict[str, ImageFile]] = {}
        self._crashes: Counter[str] = Counter()  # by key of the image
        self._crashes_in_a_row = 0
        self._advanced: set[str] = set()  # keys that the progress bar has counted

    def work(self) -> None:
        """Decompose all images that the store lacks.

        Raises:
            EngineError: no worker can take part, or they crash one after the other.
            DvtError: a worker met an error that ends the run, such as a full disk.
        """
        for _ in range(self._size):
            self._add_worker()
        self._work_through(self._check_next)
        self._todo.extend(file for file in self._files if file.key not in self._stored)
        self._outcome.skipped = len(self._files) - len(self._todo)
        if self._outcome.skipped:
            self._reporter.note(f"{self._outcome.skipped} of {len(self._files)} images are in the store already")
        self._reporter.start(len(self._todo), "images", "decompose")
        self._work_through(self._decompose_next)

    def close(self) -> None:
        """End all workers. After an interrupt or an error they finish their image and commit first, for a while."""
        if self._is_decomposing:
            self._reporter.note("stopping: the workers finish their image and store what they have.")
            self._commit_all()
        for worker in list(self._calls):
            self._remove(worker)

    def _work_through(self, give_work: Callable[[str], None]) -> None:
        """Give work to idle workers and handle their replies until all work of a phase is done."""
        while True:
            for worker in [name for name in self._nodes if not self._calls[name]]:
                give_work(worker)
            if not self._has_work:
                return
            reply = self._pool.next_reply()
            assert reply is not None, "there is work left and no worker has a call"
            self._handle(reply)

    def _busy(self, *methods: Method) -> bool:
        return any(method in methods for calls in self._calls.values() for method, _ in calls)

    @property
    def _is_decomposing(self) -> bool:
        return bool(self._todo) or self._busy("decompose", "commit") or any(self._uncommitted.values())

    @property
    def _has_work(self) -> bool:
        return bool(self._parts) or self._busy("check_store") or self._is_decomposing

    def _add_worker(self) -> None:
        worker = next(self._names)
        self._pool.add(worker)
        self._calls[worker] = deque([("start", None)])

    def _remove(self, worker: str) -> None:
        """End a worker; its uncommitted images are not done."""
        self._pool.remove(worker)
        del self._calls[worker]
        self._nodes.pop(worker, None)
        self._outcome.done -= len(self._uncommitted.pop(worker, {}))

    def _check_next(self, worker: str) -> None:
        if self._parts:
            self._call(worker, "check_store", self._parts.popleft())

    def _decompose_next(self, worker: str) -> None:
        if self._uncommitted[worker] and (not self._todo or self._crashes[self._todo[0].key]):
            self._call(worker, "commit")
        elif self._todo:
            self._call(worker, "decompose", self._todo.popleft())

    def _call(self, worker: str, method: Method, argument: Any = None) -> None:
        self._pool.call(worker, method, *([] if argument is None else [argument]))
        self._calls[worker].append((method, argument))

    def _handle(self, reply: Reply) -> None:
        worker = reply.worker
        method, argument = self._calls[worker].popleft()
        match reply.error, reply.value:
            case WorkerCrashed() as error, _:
                self._handle_crash(worker, method, argument, error)
            case DvtError() as error, _ if method == "start":
                self._handle_refusal(worker, str(error))
            case DvtError() as error, _:
                raise type(error)(f"on node {self._nodes[worker]}: {error}")
            case _, Started() as started:
                self._nodes[worker], self._uncommitted[worker] = started.node, {}
                if self.about is None:
                    self.about = started.about
                    for text in self._refusals:
                        self._reporter.note(text)
            case _, CheckedPart() as part:
                self._stored |= part.done
                self._outcome.damaged += part.damaged
            case _, Answer() as answer:
                self._handle_answer(worker, argument, answer)

    def _handle_refusal(self, worker: str, text: str) -> None:
        """The node of a worker cannot take part: name it once, go on with the others."""
        self._remove(worker)
        if text not in self._refusals:
            self._refusals.append(text)
            if self.about is not None:
                self._reporter.note(text)
        if not self._calls:
            raise EngineError("\n".join(["no worker can take part.", *self._refusals]))

    def _handle_answer(self, worker: str, file: ImageFile | None, answer: Answer) -> None:
        self._outcome.add_seconds(answer.seconds)
        uncommitted = self._uncommitted[worker]
        if file is not None:
            self._outcome.failed |= answer.failed
            if file.key not in answer.failed:
                self._outcome.done += 1
                uncommitted[file.key] = file
            self._crashes_in_a_row = 0
            self._advance(file)
        for key in answer.committed:
            del uncommitted[key]

    def _advance(self, file: ImageFile) -> None:
        if file.key not in self._advanced:  # images that are done again are not counted again
            self._advanced.add(file.key)
            self._reporter.advance()

    def _handle_crash(self, worker: str, method: Method, argument: Any, error: WorkerCrashed) -> None:
        again = list(self._uncommitted.get(worker, {}).values())
        where = self._place(worker)
        self._remove(worker)
        if method == "check_store":
            self._parts.appendleft(argument)
        if method == "decompose":
            self._crashes[argument.key] += 1
            if self._crashes[argument.key] < MAX_CRASHES:
                again.append(argument)
            else:
                self._set_aside(argument, first_line(error))
        self._todo.extendleft(again)
        self._reporter.note(
            f"a worker{where} crashed; the images that it had not stored (images: {len(again)}) are done again."
            f" {first_line(error)}"
        )
        self._crashes_in_a_row += 1
        if self._crashes_in_a_row > max_crashes_in_a_row(self._size):
            raise EngineError(
                f"{self._crashes_in_a_row} workers crashed one after the other without finishing an image; what is"
                f" committed is safe. The last one: {error}"
            )
        if self._has_work:
            self._add_worker()

    def _place(self, worker: str) -> str:
        """Where a worker runs, to follow "a worker"; empty while it starts."""
        return f" on node {self._nodes[worker]}" if worker in self._nodes else ""

    def _set_aside(self, file: ImageFile, reason: str) -> None:
        """Record an image on which workers crash as failed."""
        self._outcome.failed[file.key] = f"{SET_ASIDE} {reason}"
        self._failures.append(file.key, str(file.path), self._outcome.failed[file.key])
        self._advance(file)

    def _commit_all(self) -> None:
        """Have every worker commit after its current image, within `GRACE_S`."""
        for worker in list(self._calls):
            if worker in self._nodes:
                self._call(worker, "commit")
            else:
                self._remove(worker)
        deadline_s = time.monotonic() + GRACE_S
        while any(self._calls.values()) and (left_s := deadline_s - time.monotonic()) > 0:
            try:
                reply = self._pool.next_reply(left_s)
            except Exception as error:  # the pool itself is gone
                self._reporter.note(f"the workers cannot be reached, and may not have stored all: {first_line(error)}")
                return
            if reply is None:
                return
            _, argument = self._calls[reply.worker].popleft()
            if isinstance(reply.value, Answer):
                self._handle_answer(reply.worker, argument, reply.value)
            elif reply.error is not None:
                self._reporter.note(
                    f"a worker{self._place(reply.worker)} could not store what it had: {first_line(reply.error)}"
                )
                if isinstance(reply.error, WorkerCrashed):
                    self._remove(reply.worker)
