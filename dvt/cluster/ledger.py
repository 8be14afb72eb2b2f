"""Ledger: which image is where, so that the death of a worker loses none and none kills workers for ever."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil

from dvt.images import ImageFile

_STRIKES = 2
"""An image that was alone with a worker that died, so many times, is given up."""


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """What a worker is asked to do in one call; without images: to commit what it has done."""

    files: tuple[ImageFile, ...] = ()
    """The images."""
    alone: bool = False
    """Whether this is one image, dealt alone because a worker died on it."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What the death of a worker cost."""

    num_undone: int
    """Images that were done and not committed."""
    num_redealt: int
    """Images that others get, those among them."""
    given_up: tuple[ImageFile, ...]
    """Images that killed their workers often enough."""


@dataclass(slots=True)
class _Hand:
    """What one worker has."""

    chunks: list[Chunk] = field(default_factory=list)
    """Dealt and not answered, oldest first: the first is being worked on."""
    uncommitted: dict[str, ImageFile] = field(default_factory=dict)
    """Done, by key, and lost if the worker dies now."""


class Ledger:
    """Deals images to workers, and takes back what a dead one had; a function of what it is told, nothing else.

    A worker has two chunks at most, one that it works on and one that waits, so that it is never idle.

    Args:
        todo: the images.
    """

    def __init__(self, todo: Iterable[ImageFile]) -> None:
        self._todo = deque(todo)
        self._suspects: deque[ImageFile] = deque()
        self._strikes: Counter[str] = Counter()
        self._hands: dict[str, _Hand] = {}

    @property
    def finished(self) -> bool:
        """Whether every image is committed, failed or given up."""
        return not (
            self._todo or self._suspects or any(hand.chunks or hand.uncommitted for hand in self._hands.values())
        )

    def take(self, worker: str, most: int = 1) -> Chunk | None:
        """The next chunk for a worker, None when it has enough or there is nothing left.

        Args:
            worker: its name; a new one is a new worker.
            most: images in a chunk; fewer towards the end, so that all workers end together.
        """
        hand = self._hands.setdefault(worker, _Hand())
        chunk = self._first(hand, most) if not hand.chunks else self._second(hand, most)
        if chunk is not None:
            hand.chunks.append(chunk)
        return chunk

    def commit(self, worker: str) -> Chunk:
        """A chunk without images for a worker, whatever else it has."""
        self._hands.setdefault(worker, _Hand()).chunks.append(chunk := Chunk())
        return chunk

    def num_uncommitted(self, worker: str) -> int:
        """Images that a worker has done and that are lost if it dies now."""
        return len(self._hands[worker].uncommitted) if worker in self._hands else 0

    def _first(self, hand: _Hand, most: int) -> Chunk | None:
        if self._todo and not self._suspects:
            return self._chunk(most)
        if hand.uncommitted:  # before a risk, and when all is dealt
            return Chunk()
        return Chunk((self._suspects.popleft(),), alone=True) if self._suspects else None

    def _second(self, hand: _Hand, most: int) -> Chunk | None:
        if len(hand.chunks) > 1 or hand.chunks[0].alone or not self._todo:
            return None
        return self._chunk(most)

    def _chunk(self, most: int) -> Chunk:
        fair = ceil(len(self._todo) / (2 * len(self._hands)))
        return Chunk(tuple(self._todo.popleft() for _ in range(min(most, fair))))

    def answered(
        self, worker: str, chunk: Chunk, done: Iterable[str], failed: Iterable[str], committed: Iterable[str]
    ) -> None:
        """A worker has answered a chunk.

        Args:
            worker: its name.
            chunk: what it was given.
            done: keys of the images in it that it decomposed.
            failed: keys of those that it could not do, and wrote down.
            committed: keys that are in the store now, of this chunk or of earlier ones.
        """
        hand = self._hands[worker]
        hand.chunks.remove(chunk)
        files = {file.key: file for file in chunk.files}
        for key in done:
            hand.uncommitted[key] = files.pop(key)
        for key in failed:
            del files[key]
        for key in committed:
            del hand.uncommitted[key]
        self._todo.extendleft(files.values())  # those that it was stopped before

    def died(self, worker: str) -> Loss:
        """A worker is dead: what it had goes to others, and what it was working on is dealt alone from now on."""
        hand = self._hands.pop(worker, _Hand())
        running, waiting = (hand.chunks or [Chunk()])[0], hand.chunks[1:]
        given_up = []
        for file in running.files:
            self._strikes[file.key] += running.alone
            if self._strikes[file.key] >= _STRIKES:
                given_up.append(file)
            else:
                self._suspects.append(file)
        again = [*hand.uncommitted.values(), *(file for chunk in waiting for file in chunk.files)]
        self._todo.extendleft(reversed(again))
        redealt = len(again) + len(running.files) - len(given_up)
        return Loss(len(hand.uncommitted), redealt, tuple(given_up))
