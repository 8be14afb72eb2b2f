"""From photographs to a denoiser: stage 1 feeds stage 2 in memory, resumably; nothing is stored."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dvt.backbone.backbone import Backbone
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run_list import ListOptions, make_meta
from dvt.decomposition.store_method import StoreMethod, store_method
from dvt.denoiser.config import Raw, TrainConfig
from dvt.denoiser.learn import learn
from dvt.denoiser.online.config import StreamConfig
from dvt.denoiser.online.pairs import KeptPairs, PairMaker, StreamedPairs
from dvt.denoiser.online.window import Window
from dvt.errors import ConfigError, TrainingError
from dvt.images import ImageFile
from dvt.store import StoreMeta
from dvt.training.callbacks import TrainingProgress
from dvt.training.resume import Start, claim_folder
from dvt.training.run import Trained
from dvt.training.split import split_by_share

_FIRST_BATCHES = 2
"""So many batches of pictures are in memory before the first step."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What is said of pairs that are made on the way."""

    meta: StoreMeta
    """What the features are, as a store would say it."""
    keys: tuple[str, ...]
    """Of all pictures, for training and validation."""
    reading: dict[str, Any]
    """Options of the stream that change the result."""

    @property
    def num_images(self) -> int:
        """How many pictures there are."""
        return len(self.keys)

    @property
    def data_hash(self) -> str:
        """Hash of which pictures these are, how their features are made, and when each is in memory."""
        parts = [repr(sorted(self.meta.origin.items())), repr(sorted(self.reading.items())), *self.keys]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def stage1(self) -> list[dict[str, Any]]:
        """How the clean features are made."""
        return [{"quality": self.meta.quality, "solver": self.meta.solver}]


@dataclass(frozen=True, slots=True)
class Streamed:
    """How a run from photographs ended."""

    trained: Trained
    """The run."""
    failures: dict[str, str]
    """Key and reason of the pictures that could not be decomposed; others took their place."""
    num_made: int
    """How many were decomposed."""


def train_from_images(
    images: Sequence[ImageFile],
    out: str | Path,
    backbone: Backbone,
    config: TrainConfig | None = None,
    stream: StreamConfig | None = None,
    *,
    max_pixels: int = 100_000_000,
    on_start: Callable[[Stream, Start], None] = lambda stream, start: None,
    on_made: Callable[[int], None] = lambda num_made: None,
    on_progress: Callable[[TrainingProgress], None] = lambda progress: None,
) -> Streamed:
    """Train a denoiser on photographs: each is decomposed when it is needed, and forgotten when others need the place.

    A run that was stopped makes the pictures of its step again and ends with the same weights.

    Args:
        images: the photographs, two at least.
        out: folder of the run, as in `train_denoiser`.
        backbone: the frozen ViT, on the device where stage 1 is to run.
        config: all options of stage 2; None: the defaults.
        stream: how stage 1 feeds it.
        max_pixels: larger pictures are refused.
        on_start: told what is learnt from, and where the run begins.
        on_made: told how many pictures were decomposed so far, after each.
        on_progress: told after every step.

    Raises:
        TrainingError: too few pictures, none that can be decomposed, or as in `train_denoiser`.
        ConfigError: options that do not go together.
    """
    config, stream = config or TrainConfig(), stream or StreamConfig()
    _check(images, config, backbone)
    claim_folder(Path(out), "denoiser")
    method = make_method(backbone, stream, config.seed)
    maker = PairMaker(method, backbone, config.denoiser.layers, max_pixels=max_pixels, on_made=on_made)
    said, train_files, val_files = _describe(images, backbone, method, config, stream)

    def make_pairs(start: Start) -> tuple[StreamedPairs, KeptPairs]:
        train = StreamedPairs(train_files, _window(len(train_files), config, stream), maker)
        if start.step < config.num_steps:
            train.fill(start.step * config.batch_size)  # minutes, in which nothing is lost: Ctrl-C ends it at once here
        return train, KeptPairs(val_files, maker)

    begin = partial(on_start, said)
    trained = learn(said, make_pairs, Path(out), config, backbone=None, on_start=begin, on_progress=on_progress)
    return Streamed(trained, maker.failures, maker.num_made)


def _describe(
    images: Sequence[ImageFile], backbone: Backbone, method: StoreMethod, config: TrainConfig, stream: StreamConfig
) -> tuple[Stream, list[ImageFile], list[ImageFile]]:
    """What is said of the pairs, the pictures to learn from, and those to validate on."""
    files = sorted(images, key=lambda image: image.key)
    parts = split_by_share([file.key for file in files], config.pairs.val_share, stream.val_images)
    train, val = ([files[number] for number in part] for part in parts)
    said = Stream(
        make_meta(backbone, method, ListOptions(quality=stream.quality, seed=config.seed)),
        tuple(file.key for file in files),
        {"buffer": min(stream.buffer, len(train)), "reuse": stream.reuse, "num_val": len(val)},
    )
    return said, train, val


def _window(num_images: int, config: TrainConfig, stream: StreamConfig) -> Window:
    first = _FIRST_BATCHES * config.batch_size
    return Window(num_images, buffer=stream.buffer, first=first, reuse=stream.reuse, seed=config.seed)


def make_method(backbone: Backbone, stream: StreamConfig, seed: int) -> StoreMethod:
    """Stage 1 as the options of a stream have it."""
    overrides = {} if stream.num_views is None else {"num_views": stream.num_views}
    config = load_quality(stream.quality, overrides)
    return store_method(backbone, config, seed, stream.quality, ListOptions().arrays)


def _check(images: Sequence[ImageFile], config: TrainConfig, backbone: Backbone) -> None:
    if len(images) < 2:
        raise TrainingError(
            f"{len(images)} picture was given: one is needed to learn from and another to validate on. Give more."
        )
    if config.pairs.raw is Raw.recomputed:
        raise ConfigError("pairs.raw=recomputed needs a store: run dvt decompose first. Without a store leave it out.")
    if any(layer >= backbone.layer for layer in config.denoiser.layers):
        raise ConfigError(f"denoiser.layers={config.denoiser.layers}: give blocks before block {backbone.layer}.")
    if config.num_workers:
        raise ConfigError(f"num_workers={config.num_workers}: pictures are decomposed in this process; leave it out.")
    where = config.trainer
    if where.num_nodes != 1 or where.strategy != "auto" or where.devices not in (1, "1"):
        raise ConfigError(
            "several processes would each decompose every picture: run dvt decompose with shard=i/n, then dvt train"
            " store=... with trainer=ddp."
        )
