"""Worker: one process that decomposes what it is given, with one ViT and one way into the store for all its life.

Nothing here knows of Ray: what a worker says is plain data.
"""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvt.backbone.backbone import Backbone
from dvt.cluster.job import Job
from dvt.cluster.sight import PATIENCE_S, check_sees
from dvt.decomposition.outcome import Outcome, about
from dvt.decomposition.run_list import decompose_into, make_meta
from dvt.decomposition.store_method import StoreMethod
from dvt.errors import DvtError
from dvt.images import ImageFile
from dvt.store import StoreWriter


@dataclass(frozen=True, slots=True)
class Started:
    """A worker is ready."""

    node: str
    """Name of its machine."""
    about: Mapping[str, Any]
    """Its ViT and its machine, for the record of the run."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A worker cannot take part, for a reason that a person can mend."""

    node: str
    """Name of its machine."""
    text: str
    """The reason."""

    def __str__(self) -> str:
        return f"on node {self.node}: {self.text}"


@dataclass(frozen=True, slots=True)
class Survey:
    """What is in a part of the store already."""

    done: frozenset[str]
    """Keys, verified."""
    damaged: tuple[str, ...]
    """Shards that were damaged and set aside, with the reason."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a chunk; images in neither list were not begun."""

    done: tuple[str, ...]
    """Keys of the images that were decomposed."""
    failed: Mapping[str, str]
    """Key and reason of those that could not be, written down in the store."""
    committed: tuple[str, ...]
    """Keys that have come into the store for good since the last answer."""
    seconds: Mapping[str, float]
    """Time spent, by what it was spent on."""


class Worker:
    """Decomposes images into a store, chunk by chunk.

    Args:
        job: the work.
        name: signs its files in the store; no two workers have the same.
        token: a file in the store's folder, by which it is the same folder.
        images: a folder of images.
        patience_s: how long to wait for them to show up.
    """

    def __init__(self, job: Job, name: str, token: Path, images: Path, patience_s: float = PATIENCE_S) -> None:
        self._job, self._name, self._token, self._images, self._patience_s = job, name, token, images, patience_s
        self._stopped = False
        self._uncommitted: set[str] = set()

    def start(self) -> Started | Refusal:
        """Look whether all is to be had here, load the ViT, open the store."""
        try:
            check_sees(self._token, f"the store {self._job.store}", patience_s=self._patience_s)
            check_sees(self._images, f"the folder of images {self._images}", patience_s=self._patience_s)
            backbone, self._method = self._job.load()
            self._writer = self._open(backbone, self._method)
        except DvtError as error:
            return Refusal(socket.gethostname(), str(error))
        return Started(socket.gethostname(), about(backbone))

    def _open(self, backbone: Backbone, method: StoreMethod) -> StoreWriter:
        return StoreWriter.open(self._job.store, make_meta(backbone, method, self._job.options), worker=self._name)

    def survey(self, part: tuple[int, int]) -> Survey:
        """What is done already, in a part of the store; shards that are damaged are set aside.

        Args:
            part: (i, n): the i-th of n parts, counted from 0.

        Raises:
            StoreError: a shard was made by a newer dvt, or cannot be read.
        """
        known = len(self._writer.damaged)
        done = self._writer.done_keys(part=part)
        return Survey(frozenset(done), tuple(self._writer.damaged[known:]))

    def work(self, files: Sequence[ImageFile]) -> Answer:
        """Decompose images; without images, commit what is done.

        Raises:
            DiskError: the disk is full or refuses (what is committed is safe).
        """
        progress = Outcome(total=len(files))
        begun: list[str] = []
        for file in files:
            if self._stopped:
                break
            begun.append(file.key)
            decompose_into(self._writer, [file], self._method, self._job.options.max_pixels, progress)
        if not files:
            self._writer.commit()
        done = tuple(key for key in begun if key not in progress.failed)
        self._uncommitted.update(done)
        committed = self._uncommitted - self._writer.pending_keys
        self._uncommitted -= committed
        return Answer(done, progress.failed, tuple(committed), progress.seconds)

    def stop(self) -> None:
        """Begin no further image; may be called from another thread."""
        self._stopped = True
