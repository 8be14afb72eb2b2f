"""Stage 3: distil a denoised ViT into a ViT that is clean by itself, resumably, and publish it as a model folder."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from dvt.backbone.features import FeatureExtractor, Features
from dvt.backbone.preprocess import Preprocess
from dvt.backbone.pruning import drawn_masks
from dvt.distillation.config import DistillConfig, ImagesConfig, MixingKind
from dvt.distillation.labels import PatchLabels
from dvt.distillation.mixing import Mixture, check_mixing, draw_mixture, mixed_pass
from dvt.distillation.ridge_start import ridge_start
from dvt.distillation.student import Student, Teacher, class_token_weight
from dvt.errors import ConfigError, ImageError, TrainingError
from dvt.images import MAX_PIXELS, ImageFile, read_image
from dvt.losses import feature_distance
from dvt.numbers import takes_numbers
from dvt.options import check_type
from dvt.progress import SILENT, Reporter
from dvt.runtime import seed_for
from dvt.shapes import FeatureMaps, ImageBatch
from dvt.spec import FeatureSpec
from dvt.torch_state import own_torch_state
from dvt.training.checkpoints import claim_folder, find_start, one_run
from dvt.training.data import Draw, ItemSet, split_by_share
from dvt.training.loggers import check_logger
from dvt.training.module import Frozen, StageModule
from dvt.training.run import Trained, comparable_settings, train_and_publish
from dvt.weights.checkpoint import CHECKPOINTS, spec_settings
from dvt.weights.info import ModelInfo

T = TypeVar("T")


@takes_numbers
@own_torch_state()
@one_run
def distill(
    images: Sequence[ImageFile],
    out: str | Path,
    config: DistillConfig | None = None,
    *,
    teacher: Teacher,
    max_pixels: int = MAX_PIXELS,
    reporter: Reporter = SILENT,
) -> Trained:
    """Train a copy of a ViT to give the clean features of its denoised self, or those of SRT, in one pass.

    The student's patches at the teacher's layer and norm learn to equal the teacher's, and so does its class token
    (`config.student.class_token_weight`). The result is a plain timm model: `out/weights.safetensors` fits
    `timm.create_model(name, num_classes=0)` and `dvt.load_backbone(name, weights=...)`. (SigLIP needs `global_pool=""`
    as well: timm pools it by a further layer.) With `config.student.layers` it is a ViT with a linear layer behind it,
    and with `config.student.keep` below 1 one that drops patches on its way: `dvt.load_denoised` loads them. The same
    call continues a run that was stopped.

    Args:
        images: files, as `dvt.find_images` lists them.
        out: folder of the run: checkpoints, logs, panels, and at the end `weights.safetensors` and `config.json`.
        config: all options; None: the defaults.
        teacher: a ViT in fp32 with its denoiser (`dvt.load_denoised`) or with SRT; it is moved to the device in use.
        max_pixels: larger images are refused.
        reporter: shows the notes of the start, then every step.

    Raises:
        TrainingError: too few images, a loss that is not finite, a run that cannot be resumed, another model in `out`.
        ImageError: an image cannot be read; raised in the step that needs it.
        ConfigError: options that exclude each other.
        DiskError: the disk is full or refuses.

    Examples:
        >>> import dvt
        >>> teacher, _ = dvt.load_denoised("vit_micro", weights="vit_micro/denoiser", device="cpu")
        >>> trained = dvt.distill(dvt.find_images("photos"), "runs/distilled", teacher=teacher)  # doctest: +SKIP
        >>> backbone = dvt.load_backbone("vit_micro", weights="runs/distilled/weights.safetensors")  # doctest: +SKIP
    """
    check_type("config", config, DistillConfig, "give dvt.distillation.config.DistillConfig(num_steps=1000).")
    check_type("teacher", teacher, Teacher, "give what dvt.load_denoised(...) returned.")
    out, config, backbone = Path(out), config or DistillConfig(), teacher.backbone
    check_logger(config.logger)
    images = sorted(images, key=lambda image: image.key)  # the order of the list changes nothing
    if teacher.grid != backbone.grid:
        raise ConfigError(
            f"the teacher gives {teacher.grid}, and its ViT, which is to learn that, {backbone.grid}: give a teacher on"
            " the patches of the ViT: srt.fine=1, or a denoiser that was trained with denoiser.fine=1."
        )
    for name in ("crop_area_min", "missing"):
        if (value := getattr(config.dataset, name)) != getattr(ImagesConfig(), name):
            raise ConfigError(f"dataset.{name}={getattr(value, 'value', value)} is for teacher=store: leave it out.")
    student, token_weight = Student(backbone, config.student), class_token_weight(backbone, config.student)
    check_mixing(config, backbone, token_weight)
    labels = PatchLabels.of(config.labels, backbone)
    parts = split_images(images, config.dataset)
    claim_folder(out, student.kind)
    settings = _settings(images, config, student, teacher, token_weight, labels)
    start = find_start(config.resume, out / CHECKPOINTS, settings, allow_changes=config.allow_changes)
    name = getattr(teacher, "full_name", backbone.full_name)
    start.report(
        f"{len(images)} images -> {out}   {name}, {teacher.grid}{student.about}, {config.num_steps} steps of"
        f" {config.batch_size}",
        reporter,
    )
    train, val = (DistillImages(part, teacher.grid.image_hw, config, max_pixels) for part in parts)
    start_from = train if start.checkpoint is None else None
    module = DistillModule(student, config, settings, teacher, token_weight, start_from, labels)
    about = ModelInfo(
        kind=student.kind,
        spec=backbone.spec,
        architecture=student.architecture,
        training={
            "teacher_sha256": teacher.weights_hash,
            "teacher_settings": teacher.settings,
            "data_sha256": settings["data"],
            **student_training(settings),
        },
        base_license=backbone.reader.facts.license,
        made_from=backbone.reader.made_from,
    )
    return train_and_publish(
        module, train, val, config, out, start, command="distill", about=about,
        state=lambda: student.published_state(backbone), reporter=reporter,
    )  # fmt: skip


def _settings(
    images: Sequence[ImageFile],
    config: DistillConfig,
    student: Student,
    teacher: Teacher,
    token_weight: float,
    labels: PatchLabels | None,
) -> dict[str, Any]:
    """All settings that a resumed run must share with its checkpoint."""
    settings = student_settings(config, student, token_weight, teacher.backbone.spec, labels)
    del settings["dataset"]["crop_area_min"]  # for stores
    if teacher.settings:
        settings["teacher_settings"] = teacher.settings
    return {**settings, "teacher": teacher.weights_hash, "num_images": len(images), "data": data_hash(images)}


def student_settings(
    config: DistillConfig, student: Student, class_token_weight: float, spec: FeatureSpec, labels: PatchLabels | None
) -> dict[str, Any]:
    """The settings without those of teacher and data, which a resumed run must share with its checkpoint.

    Args:
        config: all options.
        student: the network to train.
        class_token_weight: weight of the class token's distance.
        spec: features of the ViT.
        labels: class labels of patches; None: there are none.
    """
    settings = comparable_settings(config, DistillConfig)
    del settings["student"]["gradient_checkpointing"]  # it changes the memory only
    del settings["dataset"]["missing"]  # images that were left out show in the number of images and in the data hash
    settings["student"]["class_token_weight"] = class_token_weight
    del settings["student"]["layers"]  # layers=all is kept as its list; checkpoints from before do not have it
    if config.student.keep == 1:  # checkpoints from before do not have these
        del settings["student"]["keep"], settings["student"]["keep_weight"]
    ridge = settings["student"].pop("ridge")
    if student.denoiser is not None:
        settings["student"] |= {"layers": student.denoiser.config.layers, "ridge": ridge}
    del settings["mixing"], settings["labels"]  # checkpoints from before these options do not have them
    if (mixing := config.mixing).kind is not MixingKind.none:
        settings["mixing"] = {"kind": mixing.kind.value, "probability": mixing.share_of_steps}
        if mixing.kind is MixingKind.unmix:
            settings["mixing"]["global_share"] = mixing.share_of_blends
    if labels is not None:
        settings["labels"] = {"weight": config.labels.weight, "top": labels.top, "classifier": labels.weights_hash}
    return {**settings, "stage": "distill", **spec_settings(spec)}


def student_training(settings: dict[str, Any]) -> dict[str, Any]:
    """What a published student says of its training beside teacher and data.

    Args:
        settings: as `student_settings` gives them.
    """
    return {name: settings[name] for name in ("student", "mixing", "labels") if name in settings}


def split_images(images: Sequence[ImageFile], config: ImagesConfig) -> tuple[list[ImageFile], list[ImageFile]]:
    """Training and validation images, by key alone; both sides get at least one.

    Raises:
        TrainingError: there is one image only.
    """
    if len(images) < 2:
        raise TrainingError(
            f"{len(images)} image was given: one is needed to learn from and another to validate on. Give more images."
        )
    train, val = split_by_share([image.key for image in images], config.val_share, config.val_max)
    return [images[number] for number in train], [images[number] for number in val]


def data_hash(images: Sequence[ImageFile]) -> str:
    """Hash of the images' keys in order; the files are not opened."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{image.key}\n".encode())
    return digest.hexdigest()


class DistillImages(ItemSet):
    """`key` and `image` (3, y, x) of images, resized to one size and randomly flipped."""

    def __init__(self, images: Sequence[ImageFile], image_hw: tuple[int, int], config: DistillConfig, max_pixels: int):
        """Set up.

        Args:
            images: the files.
            image_hw: height and width in pixels to resize to; the aspect changes.
            config: probability of a flip, and the seed of the run.
            max_pixels: larger images are refused.
        """
        self._images, self._preprocess, self._max_pixels = images, Preprocess(image_hw), max_pixels
        self._flip_probability, self._seed = config.dataset.flip_probability, config.seed

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, item: Draw | int) -> dict[str, Any]:
        """A `Draw` is flipped by its number; an image read by its index is not.

        Raises:
            ImageError: it cannot be read. An image is never left out or replaced silently.
        """
        file = self._images[item.index if isinstance(item, Draw) else item]
        try:
            image = self._preprocess(read_image(file.path, max_pixels=self._max_pixels))
        except ImageError as error:
            raise ImageError(
                f"{error}\nThe training stopped there. Repair the image and give the same command again; or leave it"
                " out of images= and add allow_changes=true."
            ) from error
        if isinstance(item, Draw):
            rng = torch.Generator().manual_seed(seed_for(self._seed, f"draw {item.number}"))
            if float(torch.rand((), generator=rng)) < self._flip_probability:
                image = image.flip(-1)
        return {"key": file.key, "image": image}


class DistillModule(StageModule):
    """Training of a student with a model as teacher.

    Squared error plus cosine distance between the patches of student and teacher, with the loss of class labels where
    there are any; the distance of the class token too, in passes of images that are not mixed.
    """

    network: Student
    options: DistillConfig
    learned, target = "student", "teacher"

    def __init__(
        self,
        student: Student,
        config: DistillConfig,
        settings: dict[str, Any],
        teacher: FeatureExtractor,
        class_token_weight: float,
        start_from: ItemSet | None = None,
        labels: PatchLabels | None = None,
    ):
        """Set up the training.

        Args:
            student: the network to train.
            config: all options.
            settings: settings of the run as plain JSON; kept in the checkpoints.
            teacher: gives the patches and the class token to learn.
            class_token_weight: weight of the class token's distance beside that of the patches; 0: none.
            start_from: images from which a linear denoiser gets its first weights; None: it has some already.
            labels: class labels of patches; None: there are none.
        """
        super().__init__(student, config, settings, teacher)
        self.class_token_weight = class_token_weight
        self._has_class_token = student.backbone.reader.facts.has_class_token
        self._start_from = Frozen(start_from if student.denoiser is not None else None)
        self._labels = Frozen(labels)

    def on_fit_start(self) -> None:
        """Solve the first weights of a linear denoiser; every process has those of the first.

        Raises:
            ConfigError: images are to be mixed, and a process has one only.
        """
        super().on_fit_start()
        if self._labels.network is not None:
            self._labels.network.to(self.device)
        processes, images_per_step = self.trainer.world_size, self.options.batch_size
        if self.options.mixing.kind is not MixingKind.none and images_per_step < 2 * processes:
            raise ConfigError(
                f"mixing.kind={self.options.mixing.kind.value} mixes the images of one process, and batch_size="
                f"{images_per_step} gives each of {processes} one: give batch_size={2 * processes} or more."
            )
        images, self._start_from = self._start_from.network, Frozen(None)
        if images is None or self.network.denoiser is None:
            return
        solved = ridge_start(self.network, images, lambda batch: self.targets(batch)[0], self.options.student.ridge)
        self.network.denoiser.linear_mixing.fill(*self.trainer.strategy.broadcast(solved))

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """The distance over all patches of a batch, plus the weighted distance over its class tokens.

        A step of MixToken has the distance of the mixed images instead, one of Un-Mix has it as well. A student that
        drops patches draws them, and the weighted distance of their shares is added.
        """
        mixing, step = self.options.mixing, 0 if self.options.one_batch else self.global_step
        mixture = draw_mixture(mixing, self.network.backbone.grid.hw, self.options.seed, step)
        if mixture is not None and mixing.kind is MixingKind.mixtoken:
            return self.mixed_loss(batch["image"], self.targets(batch, class_token=False)[0], mixture)
        patches, class_token = self.targets(batch)
        given, kept = self.drawn_pass(lambda: self.network(batch["image"]), "masks")
        loss = self.distance(given.patches.float(), patches) + kept
        if class_token is not None:
            loss = loss + self.class_token_weight * feature_distance(given.prefix[:, 0].float(), class_token)
        return loss if mixture is None else loss + self.mixed_loss(batch["image"], patches, mixture)

    def mixed_loss(self, images: ImageBatch, patches: FeatureMaps, mixture: Mixture) -> Tensor:
        """Distance of the mixed images from both targets, each patch weighted by what it has of each image.

        Args:
            images: (B, 3, y, x), not mixed.
            patches: (B, H, W, C) targets of the images, not mixed.
            mixture: how they are mixed.
        """
        kind = self.options.mixing.kind
        (given, own), kept = self.drawn_pass(lambda: mixed_pass(self.network, images, mixture, kind), "mixed masks")
        return self.distance(given, patches, own) + self.distance(given, patches.flip(0), 1 - own) + kept

    def drawn_pass(self, run: Callable[[], T], name: str) -> tuple[T, Tensor | float]:
        """A pass of the student, and the weighted distance of the shares of patches that it kept; 0: it keeps all.

        Args:
            run: the pass.
            name: of its masks; each pass of a step has its own.
        """
        with drawn_masks(seed_for(self.options.seed, f"{name} {self.global_step} {self.global_rank}")) as masks:
            given = run()
        pruning = self.network.pruning
        return given, 0.0 if pruning is None else self.options.student.keep_weight * pruning.ratio_loss(masks.shares)

    def distance(self, given: FeatureMaps, wanted: FeatureMaps, weight: Tensor | None = None) -> Tensor:
        """Distance of (B, H, W, C) patches from their targets, plus the weighted loss of their class labels.

        Args:
            given: of the student.
            wanted: to learn.
            weight: of each patch, () or (H, W); None: 1.
        """
        distance, labels = feature_distance(given, wanted, weight), self._labels.network
        if labels is None:
            return distance
        entropy: Tensor = labels.loss(given, wanted, weight)
        return distance + self.options.labels.weight * entropy

    def targets(self, batch: dict[str, Any], *, class_token: bool = True) -> tuple[FeatureMaps, Tensor | None]:
        """(B, H, W, C) patches and (B, C) class tokens to learn, float32; None where class tokens have no weight.

        Args:
            batch: images, with what the teacher needs.
            class_token: whether class tokens are wanted.
        """
        wanted = self.frozen.network(batch["image"])
        has_weight = class_token and self.class_token_weight
        return wanted.patches.float(), wanted.prefix[:, 0].float() if has_weight else None

    def features(self, batch: dict[str, Any]) -> dict[str, Features]:
        """Features of a batch from the original ViT (`raw`), the teacher and the student."""
        teacher = self.frozen.network
        extractors = {"raw": teacher.backbone, "teacher": teacher, "student": self.network}
        return {name: extractor(batch["image"]) for name, extractor in extractors.items()}

    def maps(self, batch: dict[str, Any]) -> dict[str, FeatureMaps]:
        """The patches of `features`."""
        return {name: features.patches.float() for name, features in self.features(batch).items()}

    def on_validation_epoch_start(self) -> None:
        """Start the comparison, that of the class tokens too."""
        super().on_validation_epoch_start()
        self._class_tokens: list[Tensor] = []

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Compare the ViT and the student with the teacher, and the student's class token with the ViT's."""
        features = self.features(batch)
        self.comparison.update({name: each.patches.float() for name, each in features.items()})
        if self._has_class_token:
            before, after = (features[name].prefix[:, 0].float() for name in ("raw", "student"))
            self._class_tokens += torch.cosine_similarity(before, after, dim=-1).unbind()

    def on_validation_epoch_end(self) -> None:
        """Log the means over all validation images."""
        super().on_validation_epoch_end()
        if self._has_class_token:
            self.log("val/class_token_cosine", torch.stack(self._class_tokens).mean())
