"""`dvt distill`: a ViT with clean features, from a ViT with a denoiser or from SRT."""

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from dvt.backbone.config import BackboneConfig
from dvt.cli.console import INTERRUPTED, MISSING, say
from dvt.cli.outcome import Result
from dvt.distillation.config import DistillConfig
from dvt.errors import ConfigError
from dvt.images import MAX_PIXELS
from dvt.srt.config import SrtConfig

if TYPE_CHECKING:
    from dvt.denoiser.denoised import DenoisedBackbone
    from dvt.srt.backbone import SrtBackbone
    from dvt.training.run import Trained

HEAD = """\
dvt distill: train a ViT to give clean features without a denoiser (stage 3).

usage: dvt distill denoiser=FOLDER images=WHERE out=FOLDER [key=value ...]
       dvt distill teacher=srt     images=WHERE out=FOLDER [key=value ...]

  dvt distill backbone=dinov2_base denoiser=runs/denoiser images=photos/ out=runs/distilled    the whole ViT
  dvt distill denoiser=runs/denoiser images=photos/ out=runs/d student.trained_blocks=4        its last four blocks
  dvt distill denoiser=runs/denoiser images=photos/ out=runs/d trainer=ddp batch_size=512      all GPUs of the machine
  dvt distill denoiser=runs/denoiser images=photos/ out=runs/d student.gradient_checkpointing=true   in less memory
  dvt distill teacher=srt srt.max_shift=6 srt.step=2 images=photos/ out=runs/d          from SRT: no stage before it

The result is a plain timm model. An image that cannot be read stops the training when its turn comes.
Stopped or crashed? The same command again continues from the last checkpoint."""

GROUPS = ("trainer", "logger", "backbone", "experiment", "debug")
METRIC = "val/mse"


class TeacherName(str, Enum):
    """The teacher of a distilled ViT."""

    denoiser = "denoiser"
    """The ViT with its denoiser."""
    srt = "srt"
    """The ViT averaged over shifts by less than a patch."""


@dataclass(kw_only=True, slots=True)
class Options(DistillConfig):
    """Options of `dvt distill`."""

    teacher: TeacherName = TeacherName.denoiser
    """The teacher: denoiser (the ViT with denoiser=...) or srt (features of the ViT averaged over shifts)."""
    denoiser: str | None = None
    """Denoiser of the teacher: a folder that `dvt train` wrote, a file, or a released one such as voc_denoised."""
    srt: SrtConfig = field(default_factory=SrtConfig)
    """SRT, for teacher=srt."""
    images: Any = MISSING
    """An image folder, a glob such as 'photos/**/*.jpg', or a .txt list of paths."""
    out: str = MISSING
    """Folder of the run, and of the finished ViT; the same command continues one that was begun."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The ViT; its layer, norm and (when left out) image size are those of the denoiser, where there is one."""
    max_pixels: int = MAX_PIXELS
    """Larger images are refused as decompression bombs."""


def work(options: Options, choices: dict[str, str]) -> Result:
    """Distill; exit code 0, or 130 when stopped before the end."""
    from dvt.cli.reporter import TerminalReporter
    from dvt.distillation.distill import distill as run_distillation
    from dvt.images import find_images
    from dvt.training.processes import is_main_process

    images = find_images(options.images)
    teacher = load_teacher(options)
    is_main = is_main_process()
    with TerminalReporter(shown=is_main) as reporter:
        distilled = run_distillation(
            images,
            options.out,
            options,
            teacher=teacher,
            max_pixels=options.max_pixels,
            reporter=reporter,
        )
    if is_main:
        say(end_text(distilled, options))
    return Result(code=INTERRUPTED) if distilled.interrupted else Result(distilled.metrics["val/mse"])


def load_teacher(options: Options) -> "DenoisedBackbone | SrtBackbone":
    """The ViT with its denoiser, or with SRT around it, on the CPU.

    Raises:
        ConfigError: a denoiser is missing, without effect, a distilled ViT, or trained on another layer or norm.
        WeightsError: weights are not found, unreadable, or of another backbone.
    """
    if options.teacher is TeacherName.srt:
        return _srt_teacher(options)
    from dvt.denoiser.denoised import DenoisedBackbone
    from dvt.weights.build import load_denoised_from_config

    if options.denoiser is None:
        raise ConfigError(
            "dvt distill needs something to learn from: denoiser=... (what dvt train wrote, or a released one), or"
            " teacher=srt."
        )
    teacher = load_denoised_from_config(options.backbone, options.denoiser, "cpu")
    if not isinstance(teacher, DenoisedBackbone):
        raise ConfigError(f"denoiser={options.denoiser} is a distilled ViT already: give what dvt train wrote.")
    return teacher


def _srt_teacher(options: Options) -> "SrtBackbone":
    from dvt.backbone.load import load_from_config
    from dvt.srt.backbone import SrtBackbone

    if options.denoiser is not None:
        raise ConfigError(
            f"teacher=srt learns from the raw ViT: leave out denoiser={options.denoiser}, or teacher=srt."
        )
    return SrtBackbone(load_from_config(options.backbone, "cpu"), options.srt)


def end_text(distilled: "Trained", options: Options) -> str:
    """Text at the end of a distillation."""
    if distilled.interrupted:
        return f"stopped at step {distilled.step} of {options.num_steps}; the same command continues from there."
    value = {name.removeprefix("val/"): number for name, number in distilled.metrics.items()}
    lines = [
        "before -> after, compared with the teacher on the validation images:"
        f" squared error {value['raw_mse']:.4g} -> {value['mse']:.4g}"
        f"   cosine {value['raw_cosine']:.4g} -> {value['cosine']:.4g}",
    ]
    if "student_position_share" in value:  # of few images there is none
        raw, student, teacher = (f"{value[f'{name}_position_share']:.4g}" for name in ("raw", "student", "teacher"))
        lines.append(f"position's share of variance {raw} -> {student}, of the teacher {teacher}")
    if "class_token_cosine" in value:
        lines.append(f"cosine of the class token to that before {value['class_token_cosine']:.4g}")
    out, backbone = options.out, options.backbone.timm or options.backbone.name
    lines.append(f"written: {out}   use it: dvt.load_denoised({backbone!r}, weights={out!r})")
    return "\n".join(lines)
