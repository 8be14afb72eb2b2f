"""Crew: workers elsewhere, by name: what one may ask of them, and what one hears of them."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from dvt.cluster.ledger import Chunk
from dvt.cluster.worker import Answer, Refusal, Started, Survey


@dataclass(frozen=True, slots=True)
class Death:
    """A worker is gone or of no use any more, and what it was asked with it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What a worker said, or what became of it."""

    worker: str
    """Its name."""
    said: Started | Refusal | Survey | Answer | Death
    """Its answer."""
    chunk: Chunk | None = None
    """What it answers, where that is work."""


@runtime_checkable
class Crew(Protocol):
    """Workers that are asked now and answer later; each does what it is asked in that order."""

    def hire(self, worker: str) -> None:
        """Have a new worker of that name, which begins with `Worker.start`.

        Raises:
            StoreError: the folder of the store cannot be used.
        """

    def survey(self, worker: str, part: tuple[int, int]) -> None:
        """Ask a worker for what is done already, in the i-th of n parts (i, n) of the store."""

    def work(self, worker: str, chunk: Chunk) -> None:
        """Ask a worker to decompose the images of a chunk."""

    def stop(self, worker: str) -> None:
        """Ask a worker to begin no further image; heard at once, not answered."""

    def dismiss(self, worker: str) -> None:
        """End a worker, dead or alive; nothing is heard of it any more."""

    def hear(self, timeout_s: float | None = None) -> Heard | None:
        """The next answer of any worker; None when none came in time, or none was asked.

        Raises:
            DvtError: what a worker met that ends the run, such as a full disk.
        """
