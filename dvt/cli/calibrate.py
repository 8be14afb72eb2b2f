"""`dvt calibrate`: a denoiser without training, from a few images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvt.backbone.config import BackboneConfig
from dvt.calibration.config import CalibrationConfig
from dvt.cli.console import DONE, MISSING, SOME_FAILED, say, say_failures
from dvt.cli.outcome import Result
from dvt.errors import ConfigError
from dvt.images.formats import MAX_PIXELS

HEAD = """\
dvt calibrate: a denoiser without training: a linear map and a vector for every position, from a few images in a minute.
It costs one matrix product in a forward pass; registers cost one more token. `dvt show`, `evaluate`, `export` and
`load_denoised` take its folder.

usage: dvt calibrate images=FOLDER out=FOLDER [method=NAME] [key=value ...]

  dvt calibrate images=photos/ out=runs/centred                            subtract what images share at a position
  dvt calibrate images=photos/ out=runs/projected method=projected backbone.norm=false
  dvt calibrate images=photos/ out=runs/blocks method=blocks backbone=augreg_tiny
  dvt calibrate images=photos/ out=runs/registers method=registers         move outlier tokens to an extra token
  dvt show      image=cat.jpg method=[raw,denoised] denoiser=runs/blocks backbone=augreg_tiny

methods: centred, blank, artifact, projected, blocks, registers. docs/methods.md says which for what."""

GROUPS = ("backbone",)
METRIC = None


@dataclass(kw_only=True, slots=True)
class Options(CalibrationConfig):
    """Options of `dvt calibrate`."""

    images: Any = MISSING
    """An image folder, a glob such as 'photos/**/*.jpg', or a .txt list of paths; 16 images or more, of many scenes."""
    out: str = MISSING
    """Folder to write: weights.safetensors, config.json, README.md."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The ViT, at the layer and norm whose features are wanted."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    max_pixels: int = MAX_PIXELS
    """Larger images are refused as decompression bombs."""


def work(options: Options, choices: dict[str, str]) -> Result:
    """Calibrate and write the folder; exit code 3 where images could not be read."""
    from dvt.backbone.load import load_from_config
    from dvt.calibration.run import calibrate
    from dvt.cli.reporter import TerminalReporter
    from dvt.images import find_images
    from dvt.one_writer import LOCK, one_writer
    from dvt.runtime import pick_device

    images, out = find_images(options.images), Path(options.out)
    check_folder(out)
    with one_writer(out / LOCK, out):
        backbone = load_from_config(options.backbone, pick_device(options.device))
        say(f"{backbone.full_name}, {backbone.grid} -> {out} ({options.method.value})")
        with TerminalReporter() as reporter:
            found = calibrate(backbone, images, options, max_pixels=options.max_pixels, reporter=reporter)
        found.denoiser.save_pretrained(out)
    assert found.denoiser.info is not None
    for name, value in found.denoiser.info.metrics.items():
        print(f"{name:<38}{value:.3f}")
    say_failures(found.failed)
    say(f"{out} written; {found.seconds:.0f} s. Use it: denoiser={out}, dvt.load_denoised(weights={str(out)!r})")
    return Result(code=SOME_FAILED if found.failed else DONE)


def check_folder(out: Path) -> None:
    """Refuse a folder in which something else than a calibration would be overwritten.

    Raises:
        ConfigError: it is a file, a feature store or the folder of a training, or holds another model.
        WeightsError: it holds a model with a damaged `config.json`.
    """
    from dvt.store import is_store
    from dvt.weights.checkpoint import CHECKPOINTS
    from dvt.weights.folder import is_model_folder, read_model_info

    if out.exists() and not out.is_dir():
        raise ConfigError(f"out={out} is a file: give the name of a folder.")
    if is_store(out) or (out / CHECKPOINTS).exists():
        what = "a feature store" if is_store(out) else "the folder of a training"
        raise ConfigError(f"out={out} is {what}: give another folder.")
    if is_model_folder(out) and "calibration" not in read_model_info(out).training:
        raise ConfigError(f"out={out} holds a model that dvt calibrate did not make: give another folder.")
