"""`dvt distill`: a ViT with clean features, from those of a store, from a ViT with a denoiser, or from SRT."""

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from dvt.cli.console import DONE, INTERRUPTED, MISSING, SOME_FAILED, say, say_failures
from dvt.cli.outcome import Result
from dvt.cli.store_backbone import StoreBackboneConfig, load_backbone_of, needs_of, store_list, with_defaults
from dvt.distillation.config import DistillConfig
from dvt.errors import ConfigError
from dvt.images import MAX_PIXELS
from dvt.srt.config import SrtConfig

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone
    from dvt.denoiser.denoised import DenoisedBackbone
    from dvt.srt.backbone import SrtBackbone
    from dvt.training.run import Trained

HEAD = """\
dvt distill: train a ViT to give clean features by itself (stage 3).

usage: dvt distill store=FOLDER    images=WHERE out=FOLDER [key=value ...]    from the features that dvt decompose wrote
       dvt distill denoiser=FOLDER images=WHERE out=FOLDER [key=value ...]
       dvt distill teacher=srt     images=WHERE out=FOLDER [key=value ...]

  dvt distill store=runs/photos images=photos/ out=runs/distilled                              the whole ViT
  dvt distill store=runs/photos images=photos/ out=runs/d backbone.image_size=448              F read at another size
  dvt distill store=runs/photos images=photos/ out=runs/d student.layers=all                   and a layer on all blocks
  dvt distill store=runs/photos images=photos/ out=runs/d experiment=laptop                    both, on a CPU
  dvt distill store=runs/photos images=photos/ out=runs/d mixing.kind=mixtoken           boxes of other images' patches
  dvt distill backbone=dinov2_base denoiser=runs/denoiser images=photos/ out=runs/distilled    from a denoiser
  dvt distill denoiser=runs/denoiser images=photos/ out=runs/d student.trained_blocks=4        its last four blocks
  dvt distill store=runs/photos images=photos/ out=runs/d student.keep=0.7                     drops patches: faster
  dvt distill denoiser=runs/denoiser images=photos/ out=runs/d trainer=ddp batch_size=512      all GPUs of the machine
  dvt distill denoiser=runs/denoiser images=photos/ out=runs/d student.gradient_checkpointing=true   in less memory
  dvt distill teacher=srt srt.max_shift=6 srt.step=2 images=photos/ out=runs/d          from SRT: no stage before it

The result is a plain timm model; with student.layers a ViT with a linear layer behind it, with student.keep one that
drops patches on its way. All load with dvt.load_denoised. An image that cannot be read stops the training when its
turn comes.
Stopped or crashed? The same command again continues from the last checkpoint."""

GROUPS = ("trainer", "logger", "backbone", "experiment", "debug")
METRIC = "val/mse"


class TeacherName(str, Enum):
    """The teacher of a distilled ViT."""

    store = "store"
    """Clean features in a store: stage 1 itself, or SRT."""
    denoiser = "denoiser"
    """The ViT with its denoiser."""
    srt = "srt"
    """The ViT averaged over shifts by less than a patch."""


@dataclass(kw_only=True, slots=True)
class Options(DistillConfig):
    """Options of `dvt distill`."""

    teacher: TeacherName | None = None
    """The teacher: store (clean features in store=...), denoiser (the ViT with denoiser=...) or srt (features of the
    ViT averaged over shifts); left out: store or denoiser, whichever is given."""
    store: Any = None
    """Feature store that dvt decompose filled from images=; several as [a,b]."""
    denoiser: str | None = None
    """Denoiser of the teacher: a folder that `dvt train` wrote, a file, or a released one such as voc_denoised."""
    srt: SrtConfig = field(default_factory=SrtConfig)
    """SRT, for teacher=srt."""
    images: Any = MISSING
    """An image folder, a glob such as 'photos/**/*.jpg', or a .txt list of paths."""
    out: str = MISSING
    """Folder of the run, and of the finished ViT; the same command continues one that was begun."""
    backbone: StoreBackboneConfig = field(default_factory=StoreBackboneConfig)
    """The ViT, where it is not left to the store or the denoiser; without a store dinov2_base."""
    max_pixels: int = MAX_PIXELS
    """Larger images are refused as decompression bombs."""


def work(options: Options, choices: dict[str, str]) -> Result:
    """Distill; exit code 0, 3 when images were left out, or 130 when stopped before the end."""
    from dvt.cli.reporter import TerminalReporter
    from dvt.distillation.distill import distill
    from dvt.distillation.stored import distill_from_store
    from dvt.images import find_images
    from dvt.images.readable import split_readable
    from dvt.training.processes import is_main_process

    name, images = teacher_name(options), find_images(options.images)
    is_main, out, max_pixels, failed = is_main_process(), options.out, options.max_pixels, dict[str, str]()
    if name is TeacherName.store:
        stores = store_list(options.store)
        vit = _vit_of(stores[0], options)
        with TerminalReporter(shown=is_main) as reporter:
            distilled = distill_from_store(
                stores, images, out, options, backbone=vit, max_pixels=max_pixels, reporter=reporter
            )
    else:
        images, failed = split_readable(images, max_pixels)
        teacher = load_teacher(options, name)
        with TerminalReporter(shown=is_main) as reporter:
            distilled = distill(images, out, options, teacher=teacher, max_pixels=max_pixels, reporter=reporter)
    if is_main:
        say_failures(failed)
        say(end_text(distilled, options))
    if distilled.interrupted:
        return Result(code=INTERRUPTED)
    return Result(distilled.metrics["val/mse"], code=SOME_FAILED if failed else DONE)


def teacher_name(options: Options) -> TeacherName:
    """The teacher that options choose; what else they give must belong to it.

    Raises:
        ConfigError: there is none, or an option is for another teacher.
    """
    given = [name for name in (TeacherName.store, TeacherName.denoiser) if getattr(options, name.value) is not None]
    chosen = options.teacher or (given[0] if len(given) == 1 else None)
    shown = " and ".join(f"{name.value}={getattr(options, name.value)}" for name in given)
    if chosen is None:
        raise ConfigError(
            f"{shown} are two teachers: leave one of them out."
            if given
            else "dvt distill needs something to learn from: store=... (what dvt decompose wrote), denoiser=... (what"
            " dvt train wrote, or a released one), or teacher=srt."
        )
    if others := [f"{name.value}={getattr(options, name.value)}" for name in given if name is not chosen]:
        raise ConfigError(f"teacher={chosen.value} and {' and '.join(others)} are two teachers: leave one of them out.")
    if chosen is not TeacherName.srt and not given:
        raise ConfigError(f"teacher={chosen.value} needs {chosen.value}=...   (dvt distill --help explains it)")
    if chosen is not TeacherName.srt and options.srt != SrtConfig():
        raise ConfigError(f"the options srt.* have an effect with teacher=srt only, not with {shown}: leave them out.")
    return chosen


def _vit_of(store: str, options: Options) -> "Backbone":
    """The ViT that a store was made with, at the size that options ask for.

    Raises:
        StoreError: there is no such store, or it has other features or no F, where F is needed.
    """
    from dvt.store import FeatureStore
    from dvt.training.sources import require_features

    opened = FeatureStore.open(store)
    spec = needs_of(options.backbone, opened.meta.spec)
    require_features(opened, spec, fine=1, any_grid=True)  # before the ViT is loaded
    return load_backbone_of(spec, options.backbone)


def load_teacher(options: Options, name: TeacherName) -> "DenoisedBackbone | SrtBackbone":
    """The ViT with its denoiser, or with SRT around it, on the CPU.

    Raises:
        ConfigError: the denoiser is a distilled ViT, or trained on another layer or norm.
        WeightsError: weights are not found, unreadable, or of another backbone.
    """
    from dvt.backbone.load import load_from_config
    from dvt.denoiser.denoised import DenoisedBackbone
    from dvt.srt.backbone import SrtBackbone
    from dvt.weights.build import load_denoised_from_config

    vit = with_defaults(options.backbone)
    if name is TeacherName.srt:
        return SrtBackbone(load_from_config(vit, "cpu"), options.srt)
    assert options.denoiser is not None, "teacher_name has checked it"
    teacher = load_denoised_from_config(vit, options.denoiser, "cpu")
    if not isinstance(teacher, DenoisedBackbone) or teacher.has_own_vit:
        raise ConfigError(f"denoiser={options.denoiser} is a distilled ViT already: give what dvt train wrote.")
    return teacher


def end_text(distilled: "Trained", options: Options) -> str:
    """Text at the end of a distillation."""
    from dvt.weights.folder import read_model_info

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
    out, wanted = options.out, options.backbone
    backbone = wanted.full_name or read_model_info(out).spec.backbone
    lines.append(f"written: {out}   use it: dvt.load_denoised({backbone!r}, weights={out!r})")
    return "\n".join(lines)
