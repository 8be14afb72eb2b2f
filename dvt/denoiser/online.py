"""Stage 2 without a store: images are decomposed in memory while the denoiser trains."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dvt.backbone.backbone import Backbone
from dvt.backbone.features import check_model
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run_list import ListOptions, make_meta
from dvt.decomposition.store_method import StoreMethod, store_method
from dvt.denoiser.config import Kind, OnlineConfig, Raw, TrainConfig
from dvt.denoiser.denoised import denoiser_input
from dvt.denoiser.train import start_run, train_on_pairs
from dvt.errors import ConfigError, DvtError, TrainingError
from dvt.images import MAX_PIXELS, ImageFile, read_image
from dvt.numbers import takes_numbers
from dvt.options import check_type
from dvt.progress import SILENT, Reporter
from dvt.runtime import seed_for
from dvt.training.checkpoints import claim_folder, one_run
from dvt.training.data import Draw, ItemSet, split_by_share
from dvt.training.loggers import check_logger
from dvt.training.run import Trained
from dvt.training.sources import PairsInfo

_FIRST_BATCHES = 2
"""Batches of images in memory before the first step."""


@dataclass(frozen=True, slots=True)
class OnlineTrained:
    """How a run without a store ended."""

    trained: Trained
    """The run."""
    failures: dict[str, str]
    """Key and reason of each image that could not be decomposed; others took its place."""
    num_decomposed: int
    """Decompositions made; an image that was evicted and came again counts twice."""


@takes_numbers
@one_run
def train_from_images(
    images: Sequence[ImageFile],
    out: str | Path,
    backbone: Backbone,
    config: TrainConfig | None = None,
    online: OnlineConfig | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    reporter: Reporter = SILENT,
) -> OnlineTrained:
    """Train a denoiser on images that are decomposed when needed and kept in a buffer.

    A run that was stopped decomposes the images of its step again and ends with the same weights.

    Args:
        images: two at least.
        out: folder of the run, as in `train_denoiser`.
        backbone: the frozen ViT, on the device where stage 1 runs.
        config: options of stage 2; None: the defaults.
        online: options of stage 1 and of the buffer; None: the defaults.
        max_pixels: larger images are refused.
        reporter: shows the first images, the notes of the start, and every step.

    Raises:
        TrainingError: too few images, none that can be decomposed, or as in `train_denoiser`.
        ConfigError: options that exclude each other.
    """
    check_model("backbone", backbone)
    check_type("config", config, TrainConfig, "give dvt.denoiser.config.TrainConfig(num_steps=1000).")
    check_type("online", online, OnlineConfig, "give OnlineConfig().")
    config, online = config or TrainConfig(), online or OnlineConfig()
    _check(images, config)
    check_logger(config.logger)
    config = replace(config, denoiser=config.denoiser.for_layers(backbone.layers))
    claim_folder(Path(out), "denoiser")
    files = sorted(images, key=lambda image: image.key)
    parts = split_by_share([file.key for file in files], config.pairs.val_share, online.val_images)
    train_files, val_files = ([files[number] for number in part] for part in parts)
    method = make_method(backbone, online, config.seed)
    maker = PairMaker(method, backbone, config.denoiser.layers, max_pixels=max_pixels)
    buffer = Buffer(
        len(train_files),
        capacity=online.buffer,
        first=_FIRST_BATCHES * config.batch_size,
        reuse=online.reuse,
        seed=config.seed,
    )
    meta = make_meta(backbone, method, ListOptions(quality=online.quality, seed=config.seed))
    options = {"buffer": min(online.buffer, len(train_files)), "reuse": online.reuse, "num_val": len(val_files)}
    hashed = [repr(sorted(meta.origin.items())), repr(sorted(options.items())), *(file.key for file in files)]
    info = PairsInfo(
        spec=meta.spec,
        num_images=len(files),
        data_hash=hashlib.sha256("\n".join(hashed).encode()).hexdigest(),
        stage1=[{"quality": meta.quality, "solver": meta.solver}],
    )

    summary = (
        f"{len(files)} images -> {out}   {backbone.full_name}, {backbone.grid}, {backbone.device}, stage 1 in memory"
        f" ({online.quality}), {config.num_steps} steps of {config.batch_size}"
    )
    start = start_run(info, Path(out), config, summary, reporter)
    train = OnlinePairs(train_files, buffer, maker)
    first = start.step * config.batch_size
    has_steps = start.step < config.num_steps
    reporter.start((len(buffer.images(first)) if has_steps else 0) + len(val_files), "images", "decompose")
    if has_steps:
        train.fill(first, reporter)  # takes minutes; Ctrl-C ends it at once here, and nothing is lost
    val = FixedPairs(val_files, maker, reporter)
    trained = train_on_pairs(info, train, val, Path(out), config, start, backbone=None, reporter=reporter)
    return OnlineTrained(trained, maker.failures, maker.num_made)


def make_method(backbone: Backbone, online: OnlineConfig, seed: int) -> StoreMethod:
    """Stage 1 with the options of an online run."""
    overrides = {} if online.num_views is None else {"num_views": online.num_views}
    config = load_quality(online.quality, overrides)
    return store_method(backbone, config, seed, online.quality, ListOptions().arrays)


def _check(images: Sequence[ImageFile], config: TrainConfig) -> None:
    if len(images) < 2:
        raise TrainingError(
            f"{len(images)} image was given: one is needed to learn from and another to validate on. Give more."
        )
    if config.pairs.raw is Raw.recomputed:
        raise ConfigError("pairs.raw=recomputed needs a store: run dvt decompose first. Without a store leave it out.")
    if config.denoiser.kind is Kind.linear:
        raise ConfigError("denoiser.kind=linear (recipe=ridge) needs a store: run dvt decompose first.")
    if config.denoiser.fine > 1:
        raise ConfigError(
            f"denoiser.fine={config.denoiser.fine} needs a store that holds F: run dvt decompose fine=2 first."
        )
    if config.num_workers:
        raise ConfigError(f"num_workers={config.num_workers}: images are decomposed in this process; leave it out.")
    where = config.trainer
    if where.num_nodes != 1 or where.strategy != "auto" or where.devices not in (1, "1"):
        raise ConfigError(
            "several processes would each decompose every image: run dvt decompose with shard=i/n, then dvt train"
            " store=... with trainer=ddp."
        )


class Buffer:
    """Which images are in memory at each draw, and which of them is drawn.

    Images enter in a new order each pass, one every `reuse` draws. The oldest image is evicted when the buffer is full.
    Everything is a function of the seed and the draw's number, so a resumed run draws the same images.
    """

    def __init__(self, num_images: int, *, capacity: int, first: int, reuse: int, seed: int):
        """Describe the buffer.

        Args:
            num_images: length of the list, at least 1.
            capacity: most images in memory; a list that fits enters once and stays.
            first: images in memory before the first draw.
            reuse: draws per new image.
            seed: of the run.
        """
        self._num_images, self._capacity = num_images, min(capacity, num_images)
        self._first, self._reuse, self._seed = min(first, self._capacity), reuse, seed
        self._orders: dict[int, list[int]] = {}
        self._num_entered = 0
        self._images: tuple[int, ...] = ()

    def images(self, draw: int) -> tuple[int, ...]:
        """Images in memory at a draw, the oldest first.

        Args:
            draw: number of draws before it.
        """
        num_entered = self._first + draw // self._reuse
        if self._capacity == self._num_images:
            num_entered = min(num_entered, self._num_images)
        if num_entered != self._num_entered:
            self._num_entered = num_entered
            self._images = tuple(map(self._image, range(max(0, num_entered - self._capacity), num_entered)))
        return self._images

    def drawn(self, draw: int) -> int:
        """The place in `images` that is drawn."""
        rng = torch.Generator().manual_seed(seed_for(self._seed, f"place of draw {draw}"))
        return int(torch.randint(len(self.images(draw)), (), generator=rng))

    def _image(self, entered: int) -> int:
        at_pass, place = divmod(entered, self._num_images)
        if at_pass not in self._orders:
            rng = torch.Generator().manual_seed(seed_for(self._seed, f"stream, pass {at_pass}"))
            self._orders = {each: order for each, order in self._orders.items() if each == at_pass - 1}
            self._orders[at_pass] = torch.randperm(self._num_images, generator=rng).tolist()
        return self._orders[at_pass][place]


class PairMaker:
    """Decomposes images; an image that fails is recorded once and skipped from then on."""

    def __init__(self, method: StoreMethod, backbone: Backbone, layers: Sequence[int], *, max_pixels: int):
        """Set up.

        Args:
            method: stage 1.
            backbone: the ViT.
            layers: earlier blocks whose features are kept as well.
            max_pixels: larger images are refused.
        """
        self._method, self._backbone, self._layers, self._max_pixels = method, backbone, layers, max_pixels
        self.failures: dict[str, str] = {}
        """Key and reason of the images that failed."""
        self.num_made = 0
        """Images decomposed so far, with repetitions."""

    def __call__(self, file: ImageFile) -> dict[str, Any] | None:
        """`key`, `raw` (H, W, (1 + L) C) and `clean` (H, W, C), float16 on the CPU; None if the image fails."""
        if file.key in self.failures:
            return None
        try:
            image = read_image(file.path, max_pixels=self._max_pixels)
            maps = self._method(image, file.key).maps
            raw = maps["raw"]
            if self._layers:
                with torch.no_grad():
                    view = self._backbone.preprocess(image.to(self._backbone.device))[None]
                    raw = denoiser_input(self._backbone, view, self._layers)[0][0].cpu()
        except DvtError as error:
            self.failures[file.key] = str(error)
            return None
        self.num_made += 1
        return {"key": file.key, "raw": raw.half(), "clean": maps["clean"].half()}

    def no_pairs(self, files: Sequence[ImageFile], purpose: str) -> TrainingError:
        """The error for a list of which every image failed."""
        return TrainingError(
            f"none of {len(files)} images to {purpose} could be decomposed; the first: {self.failures[files[0].key]}"
            "\nRepair them or leave them out of images=."
        )


class OnlinePairs(ItemSet):
    """`key`, `raw` and `clean` of drawn images; the buffer decides which are in memory."""

    def __init__(self, files: Sequence[ImageFile], buffer: Buffer, maker: PairMaker):
        self._files, self._buffer, self._maker = files, buffer, maker
        self._memory: dict[int, dict[str, Any] | None] = {}
        self._images: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self._files)

    def fill(self, draw: int, reporter: Reporter = SILENT) -> None:
        """Decompose the images of a draw that are not in memory, and drop those that left the buffer."""
        images = self._buffer.images(draw)
        if images == self._images:
            return
        self._memory = {image: self._memory[image] for image in images if image in self._memory}
        for image in images:
            if image not in self._memory:
                self._memory[image] = self._maker(self._files[image])
                reporter.advance()
        self._images = images

    def __getitem__(self, item: Draw) -> dict[str, Any]:
        """The pair of a draw; if its image failed, the next one in memory.

        Raises:
            TrainingError: all images in memory failed.
        """
        self.fill(item.number)
        place = self._buffer.drawn(item.number)
        for image in (*self._images[place:], *self._images[:place]):
            pair = self._memory[image]
            if pair is not None:
                return pair
        raise self._maker.no_pairs([self._files[image] for image in self._images], "learn from")


class FixedPairs(ItemSet):
    """`key`, `raw` and `clean` of a short list, decomposed at once; images that fail are left out."""

    def __init__(self, files: Sequence[ImageFile], maker: PairMaker, reporter: Reporter = SILENT):
        """Decompose the images.

        Raises:
            TrainingError: all images failed.
        """
        self._pairs = []
        for file in files:
            if (pair := maker(file)) is not None:
                self._pairs.append(pair)
            reporter.advance()
        if not self._pairs:
            raise maker.no_pairs(files, "validate on")

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, item: int) -> dict[str, Any]:
        return self._pairs[item]
