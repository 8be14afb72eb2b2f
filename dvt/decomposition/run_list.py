"""Stage 1 for a list of images: into a store, resumably; one bad image does not stop the others."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dvt.backbone.backbone import Backbone
from dvt.decomposition.config import DecomposeConfig
from dvt.decomposition.outcome import Outcome, about, run_record
from dvt.decomposition.shard import Shard
from dvt.decomposition.store_method import StoreMethod, store_method
from dvt.errors import DvtError
from dvt.images import MAX_PIXELS, ImageFile, read_image
from dvt.progress import SILENT, Reporter
from dvt.srt.config import SrtConfig
from dvt.store import DiskError, StoreMeta, StoreWriter, write_run_record
from dvt.version import __version__

_NO_ROOM = "the picture does not fit into the memory of the device: give a smaller one, or fewer views.num_views."


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What a run over a list needs to know besides how to decompose one image."""

    quality: str = "fast"
    """Name of the preset, for the record."""
    seed: int = 0
    """Every image has a seed of its own, made of this and its key: order and sharding change nothing."""
    shard: Shard = field(default_factory=Shard)
    """Which part of the list this process does."""
    arrays: tuple[str, ...] = ("raw", "clean")
    """Which maps are stored: some of raw, clean, artifact; SRT makes no artifact."""
    dtype: str = "float16"
    """Number format of the store."""
    max_pixels: int = MAX_PIXELS
    """Larger pictures are refused."""


def decompose_list(
    files: Sequence[ImageFile],
    backbone: Backbone,
    store: str | Path,
    config: DecomposeConfig | SrtConfig,
    options: ListOptions | None = None,
    reporter: Reporter = SILENT,
) -> Outcome:
    """Decompose images into a store; those that are verified to be there are skipped.

    An image that fails is written down with its reason, and the run goes on. Ctrl-C drops the image in work, commits
    the others and returns with `interrupted` set. Memory does not grow with the number of images.

    Args:
        files: images with their keys.
        backbone: what `dvt.load_backbone` returned.
        store: folder of the store; made when it does not exist.
        config: how an image is decomposed; options of SRT make its features the clean ones instead.
        options: seed, shard and the like.
        reporter: receives the progress, counted in images.

    Returns:
        What was done, skipped and failed.

    Raises:
        StoreError: the store was made with other settings, or the disk is full (what is committed is safe).
        ConfigError: options of SRT that do not fit the ViT or the store.
    """
    options = options or ListOptions()
    method = store_method(backbone, config, options.seed, options.quality, options.arrays)
    return decompose_part(options.shard.of(files), backbone, method, store, config, options, reporter)


def decompose_part(
    part: Sequence[ImageFile],
    backbone: Backbone,
    method: StoreMethod,
    store: str | Path,
    config: DecomposeConfig | SrtConfig,
    options: ListOptions,
    reporter: Reporter = SILENT,
) -> Outcome:
    """As `decompose_list`, with the method made and the images of this part picked.

    Raises:
        StoreError: as `decompose_list`.
    """
    started = time.time()
    outcome = Outcome(total=len(part))
    meta = make_meta(backbone, method, options)
    with StoreWriter.open(store, meta, worker=options.shard.worker) as writer:
        done = writer.done_keys({file.key for file in part})
        outcome.damaged = writer.damaged
        todo = [file for file in part if file.key not in done]
        outcome.skipped = len(part) - len(todo)
        if outcome.skipped:
            reporter.note(f"{outcome.skipped} of {len(part)} images are in the store already")
        reporter.start(len(todo), "images", "decompose")
        try:
            decompose_into(writer, todo, method, options.max_pixels, outcome, reporter)
        except KeyboardInterrupt:
            outcome.interrupted = True
        except SystemExit:  # a batch system takes its machine back
            outcome.interrupted = True
            raise
        except Exception as error:
            outcome.crash = f"{type(error).__name__}: {error}"
            raise
        finally:
            worker = options.shard.worker
            record = run_record(outcome, about(backbone), config, seed=options.seed, worker=worker, started=started)
            write_run_record(store, record, worker=worker)
    return outcome


def decompose_into(
    writer: StoreWriter,
    todo: Sequence[ImageFile],
    method: StoreMethod,
    max_pixels: int,
    outcome: Outcome,
    reporter: Reporter = SILENT,
) -> None:
    """Decompose images into an open store one by one, or write down why not.

    Args:
        writer: of the store.
        todo: images with their keys, none of which is in the store.
        method: makes the maps of an image.
        max_pixels: larger pictures are refused.
        outcome: updated after every image.
        reporter: advances by one after every image; the caller starts it.

    Raises:
        DiskError: the disk is full or refuses (what is committed is safe).
    """
    for file in todo:
        start_s = time.perf_counter()
        try:
            image = read_image(file.path, max_pixels=max_pixels)
            outcome.seconds["read"] += time.perf_counter() - start_s
            made = method(image, file.key)
            writer.put(file.key, {name: made.maps[name] for name in writer.meta.arrays})
            outcome.add_seconds(made.seconds)
            outcome.done += 1
        except DiskError:
            raise
        except (DvtError, torch.OutOfMemoryError) as error:
            reason = str(error) if isinstance(error, DvtError) else _NO_ROOM
            writer.fail(file.key, file.path, reason)
            outcome.failed[file.key] = reason
        reporter.advance()


def make_meta(backbone: Backbone, method: StoreMethod, options: ListOptions) -> StoreMeta:
    """What the records of this run have in common."""
    return StoreMeta(
        spec=backbone.spec,
        solver=method.settings | {"precision": str(backbone.precision)},
        quality=method.quality,
        code_version=__version__,
        dtype=options.dtype,
        arrays=options.arrays,
    )
