"""Stage 1 for a list of images: resumable, into a store; a failed image does not stop the others."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dvt.backbone.backbone import Backbone
from dvt.backbone.features import check_model
from dvt.decomposition.config import DecomposeConfig
from dvt.decomposition.outcome import Outcome, about, run_record
from dvt.decomposition.shard import Shard
from dvt.decomposition.store_method import ImageMaps, StoreMethod, store_method
from dvt.errors import DvtError
from dvt.field import BilinearField
from dvt.images import MAX_PIXELS, ImageFile, read_image
from dvt.numbers import takes_numbers
from dvt.options import check_type
from dvt.progress import SILENT, Reporter
from dvt.srt.config import SrtConfig
from dvt.store import DiskError, StoreMeta, StoreWriter, write_run_record
from dvt.store.keys import key_fault
from dvt.torch_state import own_torch_state
from dvt.version import __version__

_NO_ROOM = "the image does not fit into the memory of the device: give a smaller image, or fewer views.num_views."


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Options of a run over a list, besides those of one image."""

    quality: str = "fast"
    """Name of the preset, for the record."""
    seed: int = 0
    """Seed of the run. Each image derives its own from this and its key, so order and sharding change nothing."""
    shard: Shard = field(default_factory=Shard)
    """Part of the list for this process."""
    arrays: tuple[str, ...] = ("raw", "clean")
    """Maps to store: any of raw, clean, artifact; SRT makes no artifact. With `fine` of the decomposition above 1, F is
    stored as well."""
    dtype: str = "float16"
    """Number format of the store."""
    max_pixels: int = MAX_PIXELS
    """Larger images fail."""


@takes_numbers
@own_torch_state()
def decompose_list(
    files: Sequence[ImageFile],
    backbone: Backbone,
    store: str | Path,
    config: DecomposeConfig | SrtConfig,
    options: ListOptions | None = None,
    reporter: Reporter = SILENT,
) -> Outcome:
    """Decompose images into a store; images already stored and verified are skipped.

    A failed image is recorded with its reason, and the run continues. Ctrl-C drops the current image, commits the
    others and returns with `interrupted` set. Memory does not grow with the number of images.

    Args:
        files: images with their keys.
        backbone: result of `dvt.load_backbone`.
        store: folder of the store; created if it does not exist.
        config: options of the decomposition, or of SRT to store its features as the clean ones.
        options: seed, shard, arrays and other options of the run.
        reporter: progress reporter; the unit is images.

    Returns:
        Counts of images done, skipped and failed, with reasons and times.

    Raises:
        StoreError: the store has other settings, or the disk is full (committed images are safe).
        ConfigError: options of SRT that do not fit the ViT or the store.

    Example:
        >>> import dvt
        >>> from dvt.decomposition.quality import load_quality
        >>> backbone = dvt.load_backbone("vit_micro", image_size=64, device="cpu")
        >>> files = dvt.find_images("photos/")[:2]
        >>> config = load_quality("tiny")
        >>> dvt.decompose_list(files, backbone, "features", config).done
        2
        >>> dvt.decompose_list(files, backbone, "features", config).skipped
        2
    """
    check_model("backbone", backbone)
    check_type("config", config, (DecomposeConfig, SrtConfig), 'give dvt.decomposition.quality.load_quality("fast").')
    check_type("options", options, ListOptions, "give ListOptions(seed=0).")
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
        except SystemExit:  # a batch system ends the job
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
    """Decompose images one by one into an open store; record failures with their reason.

    Args:
        writer: writer of the store.
        todo: images with their keys, none of them in the store.
        method: computes the maps of an image.
        max_pixels: larger images fail.
        outcome: updated after each image.
        reporter: advances by one after each image; the caller starts it.

    Raises:
        DiskError: the disk is full or cannot be written (committed images are safe).
    """
    for file in todo:
        if fault := key_fault(file.key):  # such a key is in no file of the store, not even in that of failures
            outcome.failed[file.key] = f"its name {fault}."
            reporter.advance()
            continue
        start_s = time.perf_counter()
        try:
            image = read_image(file.path, max_pixels=max_pixels)
            outcome.seconds["read"] += time.perf_counter() - start_s
            made = method(image, file.key)
            writer.put(file.key, _stored_arrays(made, writer.meta))
            outcome.add_seconds(made.seconds)
            outcome.done += 1
        except DiskError:
            raise
        except (DvtError, torch.OutOfMemoryError) as error:
            reason = str(error) if isinstance(error, DvtError) else _NO_ROOM
            writer.fail(file.key, file.path, reason)
            outcome.failed[file.key] = reason
        reporter.advance()


def _stored_arrays(made: ImageMaps, meta: StoreMeta) -> dict[str, Tensor]:
    """What a record of the image holds."""
    arrays = {name: made.maps[name] for name in meta.arrays}
    if meta.field is not None:
        assert isinstance(made.field, BilinearField)
        arrays["field"] = made.field.node_map
    return arrays


def make_meta(backbone: Backbone, method: StoreMethod, options: ListOptions) -> StoreMeta:
    """The store metadata of this run."""
    return StoreMeta(
        spec=backbone.spec,
        solver=method.settings | {"precision": str(backbone.precision)},
        quality=method.quality,
        code_version=__version__,
        dtype=options.dtype,
        arrays=options.arrays,
        field=method.field,
    )
