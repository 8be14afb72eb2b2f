"""`dvt train`: a denoiser from feature stores."""

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from dvt.backbone.config import BackboneConfig
from dvt.cli.console import DONE, INTERRUPTED, MISSING, SOME_FAILED, say
from dvt.cli.outcome import Result
from dvt.denoiser.config import OnlineConfig, TrainConfig
from dvt.errors import ConfigError
from dvt.images import MAX_PIXELS

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone
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
class StoreBackboneConfig:
    """The ViT of the features of a store. The store names all of it; options given here must agree."""

    name: str | None = None
    """Catalogue name of the ViT."""
    timm: str | None = None
    """Its timm name; used instead of name."""
    weights: str | None = None
    """Local weights file, where the ViT is run; left out: downloaded from the hub."""
    image_size: Any = None
    """Size in pixels of a view: one number, or [height,width]. Where the store holds F and pairs.raw is not stored, the
    denoiser can be trained at another size than the store's."""
    stride: int | None = None
    """Pixels between neighbouring patches."""
    layer: int | None = None
    """Block whose output was taken, counted from 0; -1 is the last."""
    norm: bool | None = None
    """Whether the ViT's final norm was applied."""
    precision: str = "fp32"
    """Number format of the forward pass, where the ViT is run: fp32, fp16 or bf16."""


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
    from dvt.denoiser.pairs import require_features
    from dvt.denoiser.train import train_denoiser
    from dvt.images import find_images
    from dvt.store import FeatureStore
    from dvt.training.processes import is_main_process

    if options.store is None:
        if options.images is None:
            raise ConfigError(
                "dvt train needs store=... (what dvt decompose wrote), or images=... to decompose on the way."
            )
        return train_from_images(options)
    stores = [options.store] if isinstance(options.store, str) else list(options.store)
    if not stores:
        raise ConfigError("store=[] names no store: give what dvt decompose wrote.")
    check_images(options, given=options.images is not None)
    first = FeatureStore.open(stores[0])
    spec = needs_of(options.backbone, first.meta.spec)
    require_features(first, spec, options)  # before the ViT is loaded; the others are checked when they are opened
    backbone = None if options.pairs.raw is Raw.stored else _load(spec, options)
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
    return result_text(trained.metrics, options.out, read_model_info(options.out).spec.backbone)


def needs_of(wanted: StoreBackboneConfig, spec: "FeatureSpec") -> "FeatureSpec":
    """The spec that the features of a store must have: the options, and the store's values where they are left out.

    Raises:
        BackboneError: an unknown name, or no plain ViT.
        GeometryError: an image size that does not fit the patches of the store.
    """
    from dvt.backbone.build import facts_of
    from dvt.grid import PatchGrid, image_hw

    name, layer = wanted.timm or wanted.name, wanted.layer
    if layer is not None and layer < 0:
        layer += facts_of(spec.backbone).depth
    hw = spec.grid.image_hw if wanted.image_size is None else image_hw(wanted.image_size)
    return replace(
        spec,
        backbone=facts_of(name).name if name else spec.backbone,
        layer=spec.layer if layer is None else layer,
        norm=spec.norm if wanted.norm is None else wanted.norm,
        grid=PatchGrid.of(hw, spec.grid.patch, spec.grid.stride if wanted.stride is None else wanted.stride),
    )


def result_text(metrics: dict[str, float], out: str, backbone: str) -> str:
    """Text of a finished training."""
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


def _load(spec: "FeatureSpec", options: Options) -> "Backbone":
    """The ViT of the features of a store; its weights are compared when the store is opened."""
    from dvt.backbone.load import load_backbone

    wanted = options.backbone
    return load_backbone(
        spec.backbone,
        weights=wanted.weights,
        image_size=list(spec.grid.image_hw),
        stride=spec.grid.stride,
        layer=spec.layer,
        norm=spec.norm,
        device="cpu",  # the training moves it to its device
        precision=wanted.precision,
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
    backbone = load_from_config(_given_backbone(options), device)
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
    for key, reason in finished.failures.items():
        say(f"failed: {key}: {reason}")
    say(f"{finished.num_decomposed} images decomposed, {len(finished.failures)} failed")
    say(end_text(finished.trained, options))
    return _outcome(finished.trained, SOME_FAILED if finished.failures else DONE)


def _given_backbone(options: Options) -> BackboneConfig:
    """The given options, with defaults for the others."""
    given = {entry.name: getattr(options.backbone, entry.name) for entry in fields(options.backbone)}
    return BackboneConfig(**{name: value for name, value in given.items() if value is not None})
