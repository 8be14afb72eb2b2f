"""Stage 3 with the clean features of stores as targets: stage 1 is the teacher, without a denoiser between."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from dvt.backbone.backbone import Backbone
from dvt.backbone.features import Features, check_model
from dvt.distillation.config import DistillConfig
from dvt.distillation.distill import DistillModule, student_settings, student_training
from dvt.distillation.labels import PatchLabels
from dvt.distillation.mixing import check_mixing
from dvt.distillation.student import Student, class_token_weight
from dvt.images import MAX_PIXELS, ImageFile
from dvt.numbers import takes_numbers
from dvt.options import check_type
from dvt.progress import SILENT, Reporter
from dvt.shapes import FeatureMaps
from dvt.torch_state import own_torch_state
from dvt.training.checkpoints import claim_folder, find_start, one_run
from dvt.training.loggers import check_logger
from dvt.training.pairs import CleanMaps, ImagePairs, pair_views
from dvt.training.run import Trained, train_and_publish
from dvt.training.sources import Sources, open_sources
from dvt.weights.checkpoint import CHECKPOINTS
from dvt.weights.info import ModelInfo


@takes_numbers
@own_torch_state()
@one_run
def distill_from_store(
    stores: str | Path | Sequence[str | Path],
    images: Sequence[ImageFile],
    out: str | Path,
    config: DistillConfig | None = None,
    *,
    backbone: Backbone,
    max_pixels: int = MAX_PIXELS,
    reporter: Reporter = SILENT,
) -> Trained:
    """Train a copy of a ViT to give the clean features of one or several stores in one pass.

    The patches of the student learn to equal the stored ones, flipped and cropped with their image. Where the size or
    the stride of the ViT is not that of a store, F is read at the patches of the ViT. The class token learns to equal
    that of the original ViT. The result and the way to continue a stopped run are those of `dvt.distill`.

    Args:
        stores: a folder, or several, that `dvt decompose` filled.
        images: the images to learn from, as `dvt.find_images` lists them; their keys are those of the stores.
        out: folder of the run: checkpoints, logs, panels, and at the end `weights.safetensors` and `config.json`.
        config: all options; None: the defaults.
        backbone: the ViT that the stores were made with, in fp32; it is moved to the device in use.
        max_pixels: larger images are refused.
        reporter: shows the notes of the start, then every step.

    Raises:
        StoreError: a store is missing or damaged, has other features than the ViT gives, or lacks F where it is needed.
        TrainingError: too few images, images without features, a loss that is not finite, a run that cannot be resumed,
            another model in `out`.
        ImageError: an image cannot be read; raised in the step that needs it.
        ConfigError: options that exclude each other.
        DiskError: the disk is full or refuses.

    Examples:
        >>> import dvt
        >>> images, backbone = dvt.find_images("photos/"), dvt.load_backbone("vit_micro", device="cpu")
        >>> trained = dvt.distill_from_store(
        ...     ["runs/photos"], images, "runs/distilled", backbone=backbone
        ... )  # doctest: +SKIP
        >>> clean = dvt.load_backbone("vit_micro", weights="runs/distilled/weights.safetensors")  # doctest: +SKIP
    """
    check_model("backbone", backbone)
    check_type("config", config, DistillConfig, "give dvt.distillation.config.DistillConfig(num_steps=1000).")
    out, config = Path(out), config or DistillConfig()
    check_logger(config.logger)
    student, token_weight = Student(backbone, config.student), class_token_weight(backbone, config.student)
    check_mixing(config, backbone, token_weight)
    labels = PatchLabels.of(config.labels, backbone)
    sources = open_sources(
        stores, backbone.spec, images, missing=config.dataset.missing, group="dataset", any_grid=True
    )
    info, (train, val) = sources.info, image_sets(sources, config, max_pixels)
    claim_folder(out, student.kind)
    settings = {
        **student_settings(config, student, token_weight, backbone.spec, labels),
        "teacher": "store",
        "num_images": info.num_images,
        "data": info.data_hash,
    }
    start = find_start(config.resume, out / CHECKPOINTS, settings, allow_changes=config.allow_changes)
    left_out = f", {sources.num_missing} without features left out" if sources.num_missing else ""
    start.report(
        f"{info.num_images} images{left_out} -> {out}   {backbone.full_name}, {backbone.grid}{student.about},"
        f" {config.num_steps} steps of {config.batch_size}, features of"
        f" {', '.join(str(store.path) for store in sources.stores)}",
        reporter,
    )
    about = ModelInfo(
        kind=student.kind,
        spec=backbone.spec,
        architecture=student.architecture,
        training={"data_sha256": info.data_hash, "stage1": info.stage1, **student_training(settings)},
        base_license=backbone.reader.facts.license,
        made_from=backbone.reader.made_from,
    )
    start_from = train if start.checkpoint is None else None
    module = StoredModule(student, config, settings, backbone, token_weight, start_from, labels)
    return train_and_publish(
        module, train, val, config, out, start,
        command="distill", about=about, state=lambda: student.published_state(backbone), reporter=reporter,
    )  # fmt: skip


def image_sets(sources: Sources, config: DistillConfig, max_pixels: int) -> tuple[ImagePairs, ImagePairs]:
    """Training and validation images with the clean features of stores, at the patches of the ViT.

    Raises:
        TrainingError: there is one image only.
    """
    grid, views = sources.spec.grid, pair_views(config.dataset.crop_area_min, config.dataset.flip_probability)
    train, val = (
        ImagePairs(part, CleanMaps(part, grid, keep=False), grid, views, config.seed, max_pixels)
        for part in sources.split(config.dataset.val_share, config.dataset.val_max)
    )
    return train, val


class StoredModule(DistillModule):
    """Training of a student on `clean`, the stored features of a batch; the frozen ViT gives class tokens alone.

    A step runs the frozen ViT only where class tokens have a weight.
    """

    def targets(self, batch: dict[str, Any], *, class_token: bool = True) -> tuple[FeatureMaps, Tensor | None]:
        """(B, H, W, C) patches and (B, C) class tokens to learn, float32; None where class tokens have no weight."""
        has_weight = class_token and self.class_token_weight
        token = self.frozen.network(batch["image"]).prefix[:, 0].float() if has_weight else None
        return batch["clean"].float(), token

    def features(self, batch: dict[str, Any]) -> dict[str, Features]:
        """Features of a batch from the original ViT (`raw`), the store (`teacher`) and the student."""
        raw = self.frozen.network(batch["image"])
        return {
            "raw": raw,
            "teacher": replace(raw, patches=batch["clean"].float()),
            "student": self.network(batch["image"]),
        }
