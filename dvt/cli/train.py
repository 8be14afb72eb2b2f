"""`dvt train`: a denoiser from feature stores."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dvt.cli.apps import StoreBackboneConfig
from dvt.cli.apps import TrainApp as Options
from dvt.cli.console import DONE, INTERRUPTED, say, say_start
from dvt.cli.help import verb_page
from dvt.errors import ConfigError

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone
    from dvt.denoiser.sources import Sources
    from dvt.store import StoreMeta
    from dvt.training.resume import Start
    from dvt.training.run import Trained

USAGE = """\
dvt train: learn raw -> clean from a feature store: a denoiser that cleans new images in one pass (stage 2).

usage: dvt train store=FOLDER out=FOLDER [key=value ...]
       dvt train images=FOLDER out=FOLDER [key=value ...]       stage 1 on the way, in memory; nothing is stored

  dvt train store=runs/photos out=runs/denoiser                            one block, as in the paper
  dvt train images=photos/ out=runs/denoiser backbone=dinov2_base          from photographs to a denoiser
  dvt train store=[runs/a,runs/b] out=runs/denoiser num_steps=20000        longer, from two stores
  dvt train store=runs/photos out=runs/d logger=wandb logger.offline=true  curves and pictures in wandb's files
  dvt train store=runs/photos out=runs/d trainer=ddp batch_size=128        all GPUs of this machine
  dvt train store=runs/photos out=runs/d pairs.raw=recomputed images=photos/   raw features by the ViT, mirrored
  dvt train store=runs/photos out=runs/d recipe=layers images=photos/      reads earlier blocks of the ViT as well
  dvt train -m store=runs/photos denoiser.num_blocks=1,2 'out=runs/d${denoiser.num_blocks}'       a sweep

Stopped or crashed? The same command again continues from the last checkpoint."""

GROUPS = ("recipe", "trainer", "logger", "backbone")


def help_page() -> str:
    """What `dvt train --help` prints."""
    return verb_page(USAGE, Options, GROUPS)


def run(arguments: list[str]) -> int:
    """Run the verb and return its exit code."""
    from dvt.cli.compose import run_verb

    return run_verb("train", Options, arguments, train)


def train(options: Options, choices: dict[str, str]) -> int:
    """Do what the options say; 0, or 130 when it was stopped before its end."""
    from dvt.cli.progress import TrainingLine
    from dvt.denoiser.config import Raw, check_pictures
    from dvt.denoiser.train import train_denoiser
    from dvt.images import find_images
    from dvt.store import FeatureStore
    from dvt.training.processes import is_main_process

    if options.store is None:
        if options.images is None:
            raise ConfigError(
                "dvt train needs store=... (what dvt decompose wrote), or images=... to decompose on the way."
            )
        from dvt.cli.train_from_images import train_from_images

        return train_from_images(options)
    stores = [options.store] if isinstance(options.store, str) else list(options.store)
    if not stores:
        raise ConfigError("store=[] names no store: give what dvt decompose wrote.")
    check_pictures(options, given=options.images is not None)
    meta = FeatureStore.open(stores[0]).meta
    backbone = None if options.pairs.raw is Raw.stored else _load(meta, options)
    speaks = is_main_process()
    with TrainingLine("train", options.batch_size, shown=speaks) as line:
        trained = train_denoiser(
            stores,
            options.out,
            options,
            backbone=backbone,
            images=None if options.images is None else find_images(options.images),
            needs=needs_of(options.backbone, meta),
            max_pixels=options.max_pixels,
            on_start=_announcer(options) if speaks else lambda sources, start: None,
            on_progress=line.update,
        )
    if speaks:
        say(end_text(trained, options))
    return INTERRUPTED if trained.interrupted else DONE


def end_text(trained: "Trained", options: Options) -> str:
    """What a training says at its end."""
    from dvt.weights.folder import read_model_info

    if trained.interrupted:
        return f"stopped at step {trained.step} of {options.num_steps}; the same command continues from there."
    return result_text(trained.metrics, options.out, read_model_info(options.out).backbone)


def needs_of(wanted: StoreBackboneConfig, meta: "StoreMeta") -> dict[str, Any]:
    """What the features of a store have to be, as far as options say it.

    Raises:
        BackboneError: a name that does not exist.
        GeometryError: an image size that does not fit the patches of the store.
    """
    from dvt.backbone.catalogue import full_timm_name
    from dvt.backbone.facts import facts_of
    from dvt.backbone.load import image_hw
    from dvt.grid import PatchGrid

    name, layer = wanted.timm or wanted.name, wanted.layer
    if layer is not None and layer < 0:
        layer += facts_of(meta.backbone).depth
    grid = None
    if wanted.image_size is not None or wanted.stride is not None:
        hw = meta.grid.image_hw if wanted.image_size is None else image_hw(wanted.image_size)
        grid = PatchGrid.of(hw, meta.grid.patch, meta.grid.stride if wanted.stride is None else wanted.stride)
    return {
        "backbone": full_timm_name(name) if name else None,
        "layer": layer,
        "norm": wanted.norm,
        "grid": grid,
    }


def result_text(metrics: dict[str, float], out: str, backbone: str) -> str:
    """What a finished training says."""
    distances = "   ".join(
        f"{label} {metrics[f'val/{raw}']:.4g} -> {metrics[f'val/{name}']:.4g}"
        for label, raw, name in (
            ("squared error", "raw_mse", "mse"),
            ("cosine", "raw_cosine", "cosine"),
            ("position's share of variance", "raw_position_share", "denoised_position_share"),
        )
        if f"val/{name}" in metrics  # of few images there is no share
    )
    return (
        f"raw -> denoised, on the validation images: {distances}\n"
        f"written: {out}   use it: dvt.load_denoised(weights={out!r}), or\n"
        f"dvt show image=... method=[raw,denoised] denoiser={out} backbone.timm={backbone}"
    )


def _announcer(options: Options) -> "Callable[[Sources, Start], None]":
    def announce(sources: "Sources", start: "Start") -> None:
        left_out = f", {sources.num_missing} without features left out" if sources.num_missing else ""
        say_start(
            start,
            f"{len(sources.pairs)} images{left_out} -> {options.out}   {sources.meta.backbone}, {sources.meta.grid},"
            f" raw {options.pairs.raw.value}, {options.num_steps} steps of {options.batch_size}",
        )

    return announce


def _load(meta: "StoreMeta", options: Options) -> "Backbone":
    """The ViT that the features of a store come from; compared by its weights when the store is opened."""
    from dvt.backbone.load import load_backbone

    wanted = options.backbone
    return load_backbone(
        meta.backbone,
        weights=wanted.weights,
        image_size=list(meta.grid.image_hw),
        stride=meta.grid.stride,
        layer=meta.layer,
        norm=meta.norm,
        device="cpu",  # the training moves it to where the work is
        precision=wanted.precision,
    )
