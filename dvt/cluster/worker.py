"""Job and Worker: one process that decomposes images into a store, with one ViT for its whole life."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dvt.backbone.backbone import Backbone
from dvt.backbone.config import BackboneConfig
from dvt.backbone.load import load_from_config
from dvt.backbone.names import TIMM, split_name
from dvt.backbone.weights import RANDOM
from dvt.cluster.config import EngineConfig
from dvt.cluster.shared_files import PATIENCE_S, wait_until_visible
from dvt.decomposition.config import DecomposeConfig
from dvt.decomposition.outcome import Outcome, about
from dvt.decomposition.run_list import ListOptions, decompose_into, make_meta
from dvt.decomposition.shard import Shard
from dvt.decomposition.store_method import StoreMethod, store_method
from dvt.errors import ConfigError, DvtError, EngineError
from dvt.images import ImageFile
from dvt.runtime import pick_device
from dvt.srt.config import SrtConfig
from dvt.store import StoreWriter
from dvt.version import __version__


@dataclass(kw_only=True, slots=True)
class Job:
    """The work, as plain data that can be pickled; paths are made absolute, for workers in other folders."""

    backbone: BackboneConfig
    """The ViT."""
    device: str
    """Device of a worker, as in `pick_device`."""
    store: str
    """Folder of the store."""
    config: DecomposeConfig | SrtConfig
    """How an image is decomposed; with options of SRT its features are the clean ones."""
    options: ListOptions
    """Seed, arrays and the like."""
    version: str = __version__
    """Version of dvt on the driver."""

    def __post_init__(self) -> None:
        """Make the paths absolute."""
        self.store = str(Path(self.store).absolute())
        source, name = split_name(self.backbone.full_name)
        if source != TIMM:
            self.backbone = replace(self.backbone, source=source, name=name, timm=None)
        if self.backbone.weights not in (None, RANDOM):
            self.backbone = replace(self.backbone, weights=str(Path(self.backbone.weights).absolute()))

    def check(self, engine: EngineConfig) -> None:
        """Check that the work can be split by an engine.

        Raises:
            ConfigError: it names a shard, or one GPU by its number.
        """
        name, shard = engine.name.value, self.options.shard
        if shard != Shard():
            raise ConfigError(
                f"shard={shard.index}/{shard.count}: engine={name} splits the list itself. Leave shard out, or give"
                " engine=local."
            )
        if ":" in self.device:
            raise ConfigError(
                f"device={self.device}: with engine={name} every worker has GPUs of its own, counted from 0."
                " Give device=cuda, and engine.gpus for how many."
            )

    def load(self) -> tuple[Backbone, StoreMethod]:
        """Load the ViT onto the device and make the method that decomposes an image.

        Raises:
            EngineError: another version of dvt runs here.
            ConfigError: the device does not exist here, or options do not go together.
            BackboneError: the ViT does not exist, or its weights cannot be loaded.
        """
        if self.version != __version__:
            raise EngineError(f"dvt is {__version__} here and {self.version} on the driver: install one version.")
        backbone = load_from_config(self.backbone, pick_device(self.device))
        options = self.options
        return backbone, store_method(backbone, self.config, options.seed, options.quality, options.arrays)


def absolute(files: Sequence[ImageFile]) -> list[ImageFile]:
    """The images with absolute paths."""
    return [ImageFile(file.key, file.path.absolute()) for file in files]


@dataclass(frozen=True, slots=True)
class Started:
    """A worker is ready."""

    node: str
    """Name of its machine."""
    about: Mapping[str, Any]
    """Its ViT and its machine, for the run record."""


@dataclass(frozen=True, slots=True)
class CheckedPart:
    """Content of one part of the store."""

    done: frozenset[str]
    """Verified keys."""
    damaged: tuple[str, ...]
    """One reason for each damaged shard that was set aside."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Result of one image, or of a commit."""

    failed: Mapping[str, str]
    """Key and reason of an image that failed; the store has them too."""
    committed: frozenset[str]
    """Keys committed to the store since the last answer."""
    seconds: Mapping[str, float]
    """Time spent, by part of the work."""


class Worker:
    """Decomposes images into a store, in this process or, as an actor of Ray, in another.

    Args:
        job: the work.
        name: part of the names of its files in the store; unique among workers.
        marker: a file that the driver wrote into the store's folder.
        images: a folder of images.
        patience_s: how long to wait for both to become visible, in seconds.
    """

    def __init__(self, job: Job, name: str, marker: Path, images: Path, patience_s: float = PATIENCE_S) -> None:
        self._job, self._name, self._marker, self._images, self._patience_s = job, name, marker, images, patience_s
        self._uncommitted: set[str] = set()

    def start(self) -> Started:
        """Check the filesystem, load the ViT, open the store.

        Raises:
            EngineError: this node cannot take part; the text names the node and the reason.
        """
        try:
            wait_until_visible(self._marker, f"the store {self._job.store}", self._patience_s)
            wait_until_visible(self._images, f"the folder of images {self._images}", self._patience_s)
            backbone, self._method = self._job.load()
            meta = make_meta(backbone, self._method, self._job.options)
            self._writer = StoreWriter.open(self._job.store, meta, worker=self._name)
        except DvtError as error:
            raise EngineError(f"on node {socket.gethostname()}: {error}") from error
        return Started(socket.gethostname(), about(backbone))

    def check_store(self, part: tuple[int, int]) -> CheckedPart:
        """Verify one part of the store; damaged shards are set aside.

        Args:
            part: (i, n): the i-th of n parts, counted from 0.

        Raises:
            StoreError: a shard was made by a newer dvt, or cannot be read.
        """
        known = len(self._writer.damaged)
        done = self._writer.done_keys(part=part)
        return CheckedPart(frozenset(done), tuple(self._writer.damaged[known:]))

    def decompose(self, file: ImageFile) -> Answer:
        """Decompose one image; the writer commits it with others, after 64 MB or a minute.

        Raises:
            DiskError: the disk is full or refuses (committed images are safe).
        """
        outcome = Outcome(total=1)
        decompose_into(self._writer, [file], self._method, self._job.options.max_pixels, outcome)
        if not outcome.failed:
            self._uncommitted.add(file.key)
        return Answer(outcome.failed, self._newly_committed(), outcome.seconds)

    def commit(self) -> Answer:
        """Commit all pending images.

        Raises:
            DiskError: the disk is full or refuses (committed images are safe).
        """
        self._writer.commit()
        return Answer({}, self._newly_committed(), {})

    def _newly_committed(self) -> frozenset[str]:
        committed = frozenset(self._uncommitted - self._writer.pending_keys)
        self._uncommitted -= committed
        return committed
