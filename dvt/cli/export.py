"""`dvt export`: a backbone at one image size, as a file that runs without dvt."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dvt.backbone.config import BackboneConfig
from dvt.cli.console import CRASH, MISSING, complain, say
from dvt.cli.outcome import Result
from dvt.export.config import ExportFormat

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone
    from dvt.denoiser.denoised import DenoisedBackbone
    from dvt.export.run import Exported

HEAD = """\
dvt export: a backbone, raw or denoised, at one image size, as a file that runs without dvt.

usage: dvt export out=NAME [denoiser=FOLDER] [key=value ...]

  dvt export backbone=dinov2_base denoiser=runs/denoiser out=model.onnx      ONNX, at 518 x 518 px
  dvt export backbone=dino_small backbone.image_size=[480,640] out=raw.pt2   torch.export, the ViT alone
  dvt export backbone=dinov2_base denoiser=runs/denoiser out=exported/       weights.safetensors and config.json
  dvt export backbone=dinov2_base denoiser=runs/denoiser out=both.onnx raw=true      raw and clean features in one file

The exported model takes images (B, 3, height, width), RGB in [0, 1], not normalised, and gives patches (B, H, W, C)
and prefix tokens (B, P, C). It is compared with PyTorch; above the tolerance nothing is left and the exit code is 1."""

GROUPS = ("backbone",)
METRIC = None


@dataclass(kw_only=True, slots=True)
class Options:
    """Options of `dvt export`."""

    out: str = MISSING
    """Output: a file that ends in .onnx or .pt2, or a folder (safetensors)."""
    denoiser: str | None = None
    """Denoiser behind the ViT: a folder that `dvt train` wrote, a file, or a released one such as voc_denoised; also a
    distilled ViT. Its layer and norm are taken."""
    format: ExportFormat = ExportFormat.auto
    """auto (by the name of out), onnx, torch_export or safetensors."""
    raw: bool = False
    """Also give the features in front of the denoiser, as a third output `raw`: one file then shows both. For onnx and
    torch_export."""
    tolerance: float | None = None
    """Largest difference from PyTorch that is accepted; left out: 1e-3 for onnx, else 1e-4."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The ViT; its image_size is the one size that the exported model takes."""


def work(options: Options, choices: dict[str, str]) -> Result:
    """Write and compare the file; exit code 0, or 1 when it differs too much."""
    from dvt.export.parity import ParityError
    from dvt.export.run import export_model, resolve_format

    wanted = resolve_format(options.out, options.format)
    model = load_model(options)
    say(f"{model.full_name}, {model.grid} -> {options.out} ({wanted})")
    try:
        exported = export_model(model, options.out, wanted, tolerance=options.tolerance, raw=options.raw)
    except ParityError as error:
        return Result(code=complain(str(error), CRASH))
    print(exported_text(exported))
    return Result()


def load_model(options: Options) -> "Backbone | DenoisedBackbone":
    """The backbone, with the denoiser if there is one, on the CPU.

    Raises:
        ConfigError: another layer or norm than the denoiser was trained on.
    """
    from dvt.backbone.load import load_from_config
    from dvt.weights.build import load_denoised_from_config

    if options.denoiser is None:
        return load_from_config(options.backbone, "cpu")
    return load_denoised_from_config(options.backbone, options.denoiser, "cpu")


def exported_text(exported: "Exported") -> str:
    """Text about the written file."""
    coarse, channels = exported.info.spec.grid, exported.info.spec.channels
    grid = coarse.finer(exported.info.architecture.get("fine", 1))
    (height, width), (rows, columns) = grid.image_hw, grid.hw
    gives = f"patches (B, {rows}, {columns}, {channels}), prefix (B, {exported.num_prefix_tokens}, {channels})"
    if exported.gives_raw:
        gives += f", raw (B, {coarse.hw[0]}, {coarse.hw[1]}, {channels})"
    return "\n".join(
        [
            f"{exported.path}   {exported.num_bytes / 2**20:.1f} MiB, {exported.format}",
            f"takes   images (B, 3, {height}, {width}) float32 RGB in [0, 1], not normalised",
            f"gives   {gives}",
            f"parity  {exported.parity}; tolerance {exported.tolerance:g}",
        ]
    )
