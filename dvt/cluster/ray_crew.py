"""RayCrew: workers that are actors of Ray."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvt.cluster.crew import Death, Heard
from dvt.cluster.job import Job
from dvt.cluster.ledger import Chunk
from dvt.cluster.sight import Token
from dvt.cluster.worker import Started, Worker
from dvt.errors import DvtError

_CONTROL = "control"
"""Calls of this group are heard while a call of `work` runs."""


class RayCrew:
    """A `Crew` of actors, each a `Worker` in a process of its own.

    Args:
        ray: the module, connected.
        resources: what each needs, as `ray.remote` takes it.
        job: the work.
        token: lies in the store's folder.
        images: a folder of images.
    """

    def __init__(self, ray: Any, resources: Mapping[str, float], job: Job, token: Token, images: Path) -> None:
        self._ray, self._job, self._token, self._images = ray, job, token, images
        self._kind = ray.remote(max_restarts=0, concurrency_groups={_CONTROL: 1}, **resources)(Worker)
        self._actors: dict[str, Any] = {}
        self._nodes: dict[str, str] = {}
        self._calls: dict[Any, tuple[str, Chunk | None]] = {}

    def hire(self, worker: str) -> None:
        """Have an actor; it waits for a place where Ray has none."""
        self._token.place()
        self._actors[worker] = actor = self._kind.remote(self._job, worker, self._token.path, self._images)
        self._calls[actor.start.remote()] = worker, None

    def survey(self, worker: str, part: tuple[int, int]) -> None:
        """Ask for what is done already in a part of the store."""
        self._calls[self._actors[worker].survey.remote(part)] = worker, None

    def work(self, worker: str, chunk: Chunk) -> None:
        """Ask for the images of a chunk."""
        self._calls[self._actors[worker].work.remote(chunk.files)] = worker, chunk

    def stop(self, worker: str) -> None:
        """Ask to begin no further image."""
        self._actors[worker].stop.options(concurrency_group=_CONTROL).remote()

    def dismiss(self, worker: str) -> None:
        """End an actor."""
        self._ray.kill(self._actors.pop(worker))
        self._calls = {call: asked for call, asked in self._calls.items() if asked[0] != worker}

    def hear(self, timeout_s: float | None = None) -> Heard | None:
        """The next answer.

        Raises:
            DvtError: what a worker met that ends the run, with the name of its node.
        """
        if not self._calls:
            return None
        ready, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=timeout_s)
        if not ready:
            return None
        worker, chunk = self._calls.pop(ready[0])
        try:
            said = self._ray.get(ready[0])
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, DvtError):
                raise type(error.cause)(f"on node {self._nodes[worker]}: {error.cause}") from None
            return Heard(worker, Death(str(error).strip().rpartition("\n")[2]))  # a GPU that failed, or a fault of ours
        except self._ray.exceptions.RayError as error:
            return Heard(worker, Death(str(error)))
        if isinstance(said, Started):
            self._nodes[worker] = said.node
        return Heard(worker, said, chunk)
