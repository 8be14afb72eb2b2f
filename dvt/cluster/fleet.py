"""Fleet: a crew that decomposes a list; the dead are replaced, what they had goes to others."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from dvt.cluster.crew import Crew, Death, Heard
from dvt.cluster.ledger import Chunk, Ledger
from dvt.cluster.worker import Answer, Refusal, Started, Survey
from dvt.decomposition.outcome import Outcome
from dvt.errors import DvtError, EngineError
from dvt.images import ImageFile
from dvt.store.journal import FailureLog

CHUNK_S = 2.0
"""A chunk is about so much work: what Ctrl-C waits for, and what the last worker is alone with at the end."""
CHUNK_IMAGES = 16
"""Images in a chunk at most."""
GRACE_S = 20.0
"""How long the workers of a run that is stopped may take to commit."""
GIVEN_UP = "twice a worker died on it with nothing else in work; the next run tries it again. Why the last one died:"
"""What the store says of an image that kills workers, before the reason."""


class Fleet:
    """Deals a list of images to a crew and takes its answers.

    Args:
        crew: who works.
        files: the images.
        store: folder of the store, for failures.
        name: of this run; the names of the workers begin with it.
        size: how many workers.
        progress: brought up to date.
        on_progress: called when the work begins, and after every chunk with the key of its last image.
        on_note: told what a person should know while the run goes on.
    """

    def __init__(
        self,
        crew: Crew,
        files: Sequence[ImageFile],
        store: Path,
        name: str,
        size: int,
        progress: Outcome,
        on_progress: Callable[[Outcome, str], None],
        on_note: Callable[[str], None],
    ) -> None:
        self.about: Mapping[str, Any] | None = None
        """What the first worker said of its ViT and its machine; None while none has started."""
        self._crew, self._files, self._name, self._size = crew, files, name, size
        self._progress, self._on_progress, self._on_note = progress, on_progress, on_note
        self._failures = FailureLog(store, name)
        self._numbers = count()
        self._hired: set[str] = set()
        self._nodes: dict[str, str] = {}  # of those that have started
        self._refusals: list[str] = []
        self._parts = deque((index, size) for index in range(size))  # of the store, that nobody looks at yet
        self._surveyors: dict[str, tuple[int, int]] = {}  # workers, and the parts that they look at
        self._found: set[str] = set()  # keys in the store, while it is looked at
        self._ledger: Ledger | None = None
        self._deaths_in_a_row = 0
        self._stopping = False

    def work(self) -> None:
        """Do all of it.

        Raises:
            EngineError: no worker can take part, or they die one after the other.
            DvtError: what a worker met that ends the run, such as a full disk.
        """
        for _ in range(self._size):
            self._hire()
        while not self._finished:
            heard = self._crew.hear()
            assert heard is not None, "a fleet that waits has asked for something"
            self._take(heard)

    def close(self) -> None:
        """End the workers; where work is left they finish their image and commit first, for a while."""
        self._stopping = True
        if self._ledger is not None and not self._finished:
            self._commit_all(self._ledger)
        for worker in list(self._hired):
            self._end(worker)

    @property
    def _finished(self) -> bool:
        return self._ledger is not None and self._ledger.finished

    def _hire(self) -> None:
        worker = f"{self._name}-{next(self._numbers)}"
        self._crew.hire(worker)
        self._hired.add(worker)

    def _take(self, heard: Heard) -> None:
        match heard.said:
            case Started():
                self._started(heard.worker, heard.said)
            case Refusal():
                self._refused(heard.worker, heard.said)
            case Survey():
                self._surveyed(heard.worker, heard.said)
            case Answer():
                assert heard.chunk is not None
                self._answered(heard.worker, heard.chunk, heard.said)
            case Death():
                self._died(heard.worker, heard.said)

    def _started(self, worker: str, said: Started) -> None:
        self._nodes[worker] = said.node
        if self.about is None:
            self.about = said.about
            for text in self._refusals:
                self._on_note(text)
        if self._ledger is not None:
            self._deal(self._ledger, worker)
        else:
            self._survey(worker)

    def _refused(self, worker: str, said: Refusal) -> None:
        self._end(worker)
        if (text := str(said)) not in self._refusals:
            self._refusals.append(text)
            if self.about is not None:
                self._on_note(text)
        if not self._hired:
            raise EngineError("\n".join(["no worker can take part.", *self._refusals]))

    def _survey(self, worker: str) -> None:
        """Have a worker look at a part of the store, where one is left."""
        if self._parts:
            self._surveyors[worker] = part = self._parts.popleft()
            self._crew.survey(worker, part)

    def _surveyed(self, worker: str, said: Survey) -> None:
        del self._surveyors[worker]
        self._found |= said.done
        self._progress.damaged += said.damaged
        self._survey(worker)
        if not self._surveyors:
            self._begin()

    def _begin(self) -> None:
        """The store is known: deal what is not in it."""
        todo = [file for file in self._files if file.key not in self._found]
        self._found.clear()
        self._progress.skipped = len(self._files) - len(todo)
        self._ledger = Ledger(todo)
        self._on_progress(self._progress, "")
        self._deal_to_all(self._ledger)

    def _deal_to_all(self, ledger: Ledger) -> None:
        for worker in self._nodes:
            self._deal(ledger, worker)

    def _deal(self, ledger: Ledger, worker: str) -> None:
        while (chunk := ledger.take(worker, self._most_images())) is not None:
            self._crew.work(worker, chunk)

    def _most_images(self) -> int:
        spent_s = sum(self._progress.seconds.values())
        return max(1, min(CHUNK_IMAGES, int(CHUNK_S * self._progress.done / spent_s))) if spent_s > 0 else 1

    def _answered(self, worker: str, chunk: Chunk, said: Answer) -> None:
        assert self._ledger is not None
        self._ledger.answered(worker, chunk, said.done, said.failed, said.committed)
        self._progress.done += len(said.done)
        self._progress.failed |= said.failed
        self._progress.add_seconds(said.seconds)
        if self._stopping:
            return
        if said.done or said.failed:
            self._deaths_in_a_row = 0
            self._on_progress(self._progress, chunk.files[-1].key)
        self._deal(self._ledger, worker)

    def _died(self, worker: str, death: Death) -> None:
        where = f" on node {self._nodes[worker]}" if worker in self._nodes else ""
        self._end(worker)
        if self._stopping:
            return
        reason = death.reason.partition("\n")[0]
        again = self._take_back(self._ledger, worker, reason) if self._ledger is not None else 0
        self._on_note(f"a worker{where} died; what it had not stored yet is dealt again (images: {again}). {reason}")
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row > 10 + 2 * self._size:
            raise EngineError(
                f"{self._deaths_in_a_row} workers died one after the other without finishing an image; what is"
                f" committed is safe. The last one: {death.reason}"
            )
        if self._parts:  # others look at what it did not
            for other in [name for name in self._nodes if name not in self._surveyors]:
                self._survey(other)
        if not self._finished:
            self._hire()

    def _take_back(self, ledger: Ledger, worker: str, reason: str) -> int:
        """Deal to others what a dead worker had, but for images that kill; how many are dealt again."""
        loss = ledger.died(worker)
        for file in loss.given_up:
            self._progress.failed[file.key] = f"{GIVEN_UP} {reason}"
            self._failures.append(file.key, str(file.path), self._progress.failed[file.key])
            self._on_progress(self._progress, file.key)
        self._deal_to_all(ledger)
        return loss.num_redealt

    def _end(self, worker: str) -> None:
        """A worker is of no use any more; what it has not committed is not done."""
        self._crew.dismiss(worker)
        self._hired.remove(worker)
        self._nodes.pop(worker, None)
        if worker in self._surveyors:
            self._parts.appendleft(self._surveyors.pop(worker))
        if self._ledger is not None:
            self._progress.done -= self._ledger.num_uncommitted(worker)

    def _commit_all(self, ledger: Ledger) -> None:
        self._on_note("stopping: the workers finish their image and store what they have.")
        for worker in sorted(self._hired):
            if worker not in self._nodes:
                self._end(worker)
                continue
            self._crew.stop(worker)
            self._crew.work(worker, ledger.commit(worker))
        until_s = time.monotonic() + GRACE_S
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                heard = self._crew.hear(left_s)
            except DvtError:  # the run has ended already, perhaps on another one
                continue
            except Exception:  # nobody is heard any more
                break
            if heard is None:
                break
            self._take(heard)
