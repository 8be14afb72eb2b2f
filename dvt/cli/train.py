"""`dvt train`: a denoiser from feature stores."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvt.backbone.names import options_of
from dvt.cli.console import DONE, INTERRUPTED, MISSING, SOME_FAILED, say, say_failures
from dvt.cli.outcome import Result
from dvt.cli.store_backbone import StoreBackboneConfig, load_backbone_of, needs_of, store_list, with_defaults
from dvt.denoiser.config import OnlineConfig, TrainConfig
from dvt.errors import ConfigError
from dvt.images import MAX_PIXELS

if TYPE_CHECKING:
    from dvt.spec import FeatureSpec
    from dvt.training.run import Trained

HEAD = """\
dvt train: train a denoiser, raw -> clean, from a feature store; it cleans new images in one pass (stage 2).

usage: dvt train store=FOLDER out=FOLDER [key=value ...]
       dvt train images=FOLDER out=FOLDER [key=value ...]       stage 1 on the way, in memory; nothing is stored

  dvt train store=runs/photos out=runs/denoiser                            one block, as in the paper
  dvt train images=photos/ out=runs/denoiser backbone=dinov2_base          from images to a denoiser
  dvt train store=[runs/a,runs/b] out=runs/denoiser num_steps=20000        longer, from two stores
  dvt train store=runs/photos out=runs/d logger=wandb logger.offline=true  curves and panels in wandb's files
  dvt train store=runs/photos out=runs/d trainer=ddp batch_size=128        all GPUs of this machine
  dvt train store=runs/photos out=runs/d pairs.raw=recomputed images=photos/   raw features by the ViT, mirrored
  dvt train store=runs/photos out=runs/d recipe=all_blocks images=photos/  reads every block of the ViT
  dvt train -m store=runs/photos denoiser.num_blocks=1,2 'out=runs/d${denoiser.num_blocks}'       a sweep

Stopped or crashed? The same command again continues from the last checkpoint."""

GROUPS = ("recipe", "trainer", "logger", "backbone", "experiment", "debug")
METRIC = "val/mse"


@dataclass(kw_only=True, slots=True)
class Options(TrainConfig):
    """Options of `dvt train`."""

    store: Any = None
    """Feature store that dvt decompose filled; several as [a,b]. Left out: images are decomposed on the way."""
    out: str = MISSING
    """Folder of the run, and of the finished denoiser; the same command continues one that was begun."""
    images: Any = None
    """Learn from these images only: a folder, glob or .txt list. Needed without a store, and where pairs.raw is not
    stored."""
    stream: OnlineConfig = field(default_factory=OnlineConfig)
    """How images are decomposed in memory, without a store."""
    backbone: StoreBackboneConfig = field(default_factory=StoreBackboneConfig)
    """The ViT, where it is not left to the store."""
    max_pixels: int = MAX_PIXELS
    """Larger images are refused as decompression bombs."""


def work(options: Options, choices: dict[str, str]) -> Result:
    """Train; exit code 0, or 130 when stopped before the end."""
    from dvt.cli.reporter import TerminalReporter
    from dvt.denoiser.config import Raw, check_images
    from dvt.denoiser.train import train_denoiser
    from dvt.images import find_images
    from dvt.store import FeatureStore
    from dvt.training.processes import is_main_process
    from dvt.training.sources import require_features

    if options.store is None:
        if options.images is None:
            raise ConfigError(
                "dvt train needs store=... (what dvt decompose wrote), or images=... to decompose on the way."
            )
        return train_from_images(options)
    stores = store_list(options.store)
    check_images(options, given=options.images is not None)
    first = FeatureStore.open(stores[0])
    spec = needs_of(options.backbone, first.meta.spec)
    computes = options.pairs.raw is not Raw.stored
    require_features(first, spec, fine=options.denoiser.fine, any_grid=computes)  # the others when they are opened
    backbone = load_backbone_of(spec, options.backbone) if computes else None
    is_main = is_main_process()
    with TerminalReporter(shown=is_main) as reporter:
        trained = train_denoiser(
            stores,
            options.out,
            options,
            backbone=backbone,
            images=None if options.images is None else find_images(options.images),
            max_pixels=options.max_pixels,
            reporter=reporter,
        )
    if is_main:
        say(end_text(trained, options))
    return _outcome(trained)


def _outcome(trained: "Trained", code: int = DONE) -> Result:
    if trained.interrupted:
        return Result(code=INTERRUPTED)
    return Result(trained.metrics["val/mse"], code)


def end_text(trained: "Trained", options: Options) -> str:
    """Text at the end of a training."""
    from dvt.weights.folder import read_model_info

    if trained.interrupted:
        return f"stopped at step {trained.step} of {options.num_steps}; the same command continues from there."
    spec = read_model_info(options.out).spec
    return result_text(trained.metrics, options.out, spec.backbone, _weights_of(options, spec))


def _weights_of(options: Options, spec: "FeatureSpec") -> str | None:
    """The file of the ViT's weights: as given, or as the first store recorded it; None where they are of the hub."""
    from dvt.store import recorded_weights

    if options.backbone.weights is not None or options.store is None:
        return options.backbone.weights
    recorded = recorded_weights(store_list(options.store)[0], spec.weights_hash)
    if recorded is None or not Path(recorded).is_relative_to(Path.cwd()):
        return recorded
    return str(Path(recorded).relative_to(Path.cwd()))


def result_text(metrics: dict[str, float], out: str, backbone: str, weights: str | None = None) -> str:
    """Text of a finished training, with the code that loads its result.

    Args:
        metrics: of the last validation.
        out: folder of the denoiser.
        backbone: full name of its ViT.
        weights: file of the ViT's weights; None: they are those of the hub.
    """
    distances = "   ".join(
        f"{label} {metrics[f'val/{raw}']:.4g} -> {metrics[f'val/{name}']:.4g}"
        for label, raw, name in (
            ("squared error", "raw_mse", "mse"),
            ("cosine", "raw_cosine", "cosine"),
            ("position's share of variance", "raw_position_share", "denoised_position_share"),
        )
        if f"val/{name}" in metrics  # of few images there is no share
    )
    python = "" if weights is None else f", backbone_weights={weights!r}"
    vit = " ".join(f"backbone.{option}={shlex.quote(value)}" for option, value in options_of(backbone).items())
    command = "" if weights is None else f" backbone.weights={shlex.quote(weights)}"
    return (
        f"raw -> denoised, on the validation images: {distances}\n"
        f"written: {out}   use it: dvt.load_denoised(weights={out!r}{python}), or\n"
        f"dvt show image=... method=[raw,denoised] denoiser={out} {vit}{command}"
    )


def train_from_images(options: Options) -> Result:
    """Train without a store; the code is 0, 3 when images failed, or 130 when it was stopped before its end."""
    from dvt.backbone.load import load_from_config
    from dvt.cli.reporter import TerminalReporter
    from dvt.denoiser import online
    from dvt.images import find_images
    from dvt.runtime import pick_device

    images = find_images(options.images)
    device = pick_device("cpu" if options.trainer.accelerator == "cpu" else "auto")
    backbone = load_from_config(with_defaults(options.backbone), device)
    with TerminalReporter() as reporter:
        finished = online.train_from_images(
            images,
            options.out,
            backbone,
            options,
            options.stream,
            max_pixels=options.max_pixels,
            reporter=reporter,
        )
    say_failures(finished.failures)
    say(f"{finished.num_decomposed} images decomposed, {len(finished.failures)} failed")
    say(end_text(finished.trained, options))
    return _outcome(finished.trained, SOME_FAILED if finished.failures else DONE)
