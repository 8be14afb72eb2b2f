"""Stage 3: distil a cleaned ViT into a plain one, resumably, and publish it as a model folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvt.backbone.catalogue import licence_of
from dvt.distillation.config import DistillConfig
from dvt.distillation.data import Pictures, data_hash, split_images
from dvt.distillation.module import DistillModule
from dvt.distillation.student import Student, Teacher, class_token_weight
from dvt.errors import ConfigError
from dvt.images import MAX_PIXELS, ImageFile
from dvt.progress import SILENT, Reporter
from dvt.training.pictures import ShowSamples
from dvt.training.record import comparable_settings, write_record
from dvt.training.resume import claim_folder, find_start
from dvt.training.run import Fitted, Trained, fit
from dvt.version import __version__
from dvt.weights.checkpoint import CHECKPOINTS, spec_settings
from dvt.weights.folder import save_model
from dvt.weights.info import ModelInfo


def distill(
    images: Sequence[ImageFile],
    out: str | Path,
    config: DistillConfig | None = None,
    *,
    teacher: Teacher,
    max_pixels: int = MAX_PIXELS,
    reporter: Reporter = SILENT,
) -> Trained:
    """Train a copy of a ViT to give the clean features of its denoised self, or those of SRT, in one pass by itself.

    The patches that the student gives at the teacher's layer and norm learn to be those of the teacher, and so does its
    class token (`config.student.class_token_weight`); a denoiser leaves the class token as it was. The result is a
    plain timm model: `out/weights.safetensors` fits `timm.create_model(name, num_classes=0)` (with `global_pool=""` for
    SigLIP, which timm pools by a further layer) and `dvt.load_backbone(name, weights=...)`.

    Args:
        images: files, as `dvt.find_images` lists them.
        out: folder of the run: checkpoints, logs, pictures, and at the end `weights.safetensors` and `config.json`.
        config: all options; None: the defaults.
        teacher: a ViT in fp32 with its denoiser (`dvt.load_denoised`) or SRT around it; moved to where the work is.
        max_pixels: larger pictures are refused.
        reporter: shows the notes of the start, then every step.

    Raises:
        TrainingError: too few images, a loss that is not finite, a run that cannot be resumed, another thing in `out`.
        ImageError: an image cannot be read; found when its turn comes.
        ConfigError: options that do not go together.
        DiskError: the disk is full or refuses.
    """
    out, config, before = Path(out), config or DistillConfig(), teacher.backbone
    images = sorted(images, key=lambda image: image.key)  # the order of a list decides nothing
    _check_grid(teacher)
    student, weight = Student(before, config.student), class_token_weight(before, config.student)
    train, val = split_images(images, config.pictures)
    claim_folder(out, "distilled")
    settings = _settings(images, config, teacher, weight)
    start = find_start(config.resume, out / CHECKPOINTS, settings, allow_changes=config.allow_changes)
    name = getattr(teacher, "timm_name", before.timm_name)
    start.report(
        f"{len(images)} images -> {out}   {name}, {teacher.grid}, {config.num_steps} steps of {config.batch_size}",
        reporter,
    )
    data = [Pictures(part, teacher.grid.image_hw, config, max_pixels) for part in (train, val)]
    module = DistillModule(student, config, settings, teacher, weight)
    shown = (ShowSamples(data[1], len(val), out / "pictures", config.show_every),) if config.show_every else ()
    fitted = fit(module, data[0], data[1], config, out, start, callbacks=shown, reporter=reporter, task="distill")
    if fitted.is_main and not fitted.interrupted:
        save_model(out, student.plain_state(before), _describe(teacher, fitted, settings, len(train), len(val)))
    if fitted.is_main:
        write_record(out, "distill", config, fitted, start, device=module.device)
    return Trained(out, fitted.step, fitted.interrupted, fitted.metrics, start.notes)


def _check_grid(teacher: Teacher) -> None:
    if teacher.grid != teacher.backbone.grid:
        raise ConfigError(
            f"the teacher gives {teacher.grid}, and its ViT, which is to learn that, {teacher.backbone.grid}: give a"
            " teacher on the patches of the ViT (srt.finer=1)."
        )


def _settings(images: Sequence[ImageFile], config: DistillConfig, teacher: Teacher, weight: float) -> dict[str, Any]:
    """What a resumed run has to share with the one it continues."""
    settings = comparable_settings(config, DistillConfig)
    del settings["student"]["gradient_checkpointing"]  # it changes the memory and nothing else
    settings["student"]["class_token_weight"] = weight
    if teacher.settings:
        settings["teacher_settings"] = teacher.settings
    return {
        **settings,
        "stage": "distill",
        "teacher": teacher.weights_hash,
        "num_images": len(images),
        "data": data_hash(images),
        **spec_settings(teacher.backbone.spec),
    }


def _describe(teacher: Teacher, fitted: Fitted, settings: dict[str, Any], num_train: int, num_val: int) -> ModelInfo:
    """What the published ViT says of itself."""
    backbone = teacher.backbone
    return ModelInfo(
        kind="distilled",
        spec=backbone.spec,
        architecture={},
        training={
            "teacher_sha256": teacher.weights_hash,
            "teacher_settings": teacher.settings,
            "data_sha256": settings["data"],
            "num_images": num_train,
            "num_val_images": num_val,
            "num_steps": fitted.step,
            "batch_size": settings["batch_size"],
            "seed": settings["seed"],
            "base_learning_rate": settings["optimizer"]["base_learning_rate"],
            "student": settings["student"],
        },
        metrics=fitted.measured,
        base_license=licence_of(backbone.timm_name),
        code_version=__version__,
    )
