#!/usr/bin/env python
"""Train the ViT that comes with the project: a small one learns to see like a larger one.

    python scripts/train_embedded_backbone.py --images FOLDER [FOLDER ...] --teacher FILE --out runs/vit_micro

FILE: weights of vit_tiny_patch16_224.augreg_in21k_ft_in1k. The teacher's tokens of random crops are learnt after its
final norm (patches and class token), before it (in units of each token's length), and after its middle block. Where the
teacher has an artifact, the student learns it, through position embeddings that it learns itself; nothing is planted.

OUT gets checkpoints (the same command continues), then a model folder: fp16 weights, config.json and a card.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

import dvt
from dvt.backbone.backbone import Backbone
from dvt.backbone.build import build_vit
from dvt.backbone.micro import MICRO
from dvt.cli.progress import TrainingLine
from dvt.distillation.data import data_hash
from dvt.images import ImageFile, find_images, read_image
from dvt.losses import feature_distance
from dvt.publishing.model_info import ModelInfo
from dvt.publishing.publish import save_model
from dvt.runtime import seed_for
from dvt.shapes import FeatureMaps
from dvt.training.batches import Draw
from dvt.training.checkpoint_names import CHECKPOINTS
from dvt.training.config import LoggerConfig, LoggerKind, OptimizerConfig, TrainerConfig, TrainingConfig
from dvt.training.module import Frozen, StageModule
from dvt.training.record import comparable_settings, write_record
from dvt.training.resume import find_start
from dvt.training.run import fit
from dvt.training.split import split_by_key
from dvt.version import __version__
from dvt.views.config import ViewsConfig
from dvt.views.crop import Crop, sample_crops
from dvt.views.render import make_source, render_views

IMAGE_HW = (224, 224)
NUM_VAL = 64
CROPS = ViewsConfig(num_views=1, area_min=0.15, area_max=1.0, flip_probability=0.5)


class Crops(Dataset[dict[str, Any]]):
    """`key` and `image` (3, 224, 224): a random crop of a drawn picture, all of one that is asked for by number."""

    def __init__(self, images: Sequence[ImageFile], seed: int):
        self._images, self._seed = images, seed

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, item: Draw | int) -> dict[str, Any]:
        image = self._images[item.index if isinstance(item, Draw) else item]
        source = make_source(read_image(image.path), IMAGE_HW, CROPS)
        source_hw = (source.shape[-2], source.shape[-1])
        crop = Crop.whole(source_hw)
        if isinstance(item, Draw):
            crop = sample_crops(source_hw, IMAGE_HW, 1, seed_for(self._seed, f"draw {item.number}"), CROPS)[0]
        return {"key": image.key, "image": render_views(source, [crop], IMAGE_HW)[0].clamp(0, 1)}


class Imitation(StageModule):
    """The distance of a small ViT's tokens from those of a larger one."""

    def __init__(self, student: nn.Module, config: TrainingConfig, settings: dict[str, Any], teacher: Backbone):
        super().__init__(student, config, settings)
        self._teacher = Frozen(teacher)

    def tokens(self, vit: nn.Module, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, C) tokens after the middle block, after the last, and after the final norm; class token first."""
        vit_: Any = vit
        depth = len(vit_.blocks)
        teacher = self._teacher.network
        normalised = (images - teacher.mean) / teacher.std
        middle, last = vit_.forward_intermediates(
            normalised, indices=[depth // 2 - 1, depth - 1], output_fmt="NLC", return_prefix_tokens=True,
            intermediates_only=True,
        )  # fmt: skip
        middle, last = (torch.cat([prefix, patches], dim=1) for patches, prefix in (middle, last))
        return middle, last, vit_.norm(last)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """After the norm, before it, and in the middle."""
        with torch.no_grad():
            wanted = self.tokens(self._teacher.network.vit, batch["image"])
        given = self.tokens(self.network, batch["image"])
        middle = feature_distance(*(functional.layer_norm(each[0], each[0].shape[-1:]) for each in (given, wanted)))
        relative = ((given[1] - wanted[1]).square().sum(-1) / wanted[1].square().sum(-1)).mean()
        class_token = feature_distance(given[2][:, 0], wanted[2][:, 0])
        return feature_distance(given[2][:, 1:], wanted[2][:, 1:]) + 0.2 * class_token + 0.5 * relative + 0.5 * middle

    def maps(self, batch: dict[str, Any]) -> dict[str, FeatureMaps]:
        """The patches of both, after the norm."""
        found = {"raw": self._teacher.network.vit, "student": self.network}
        return {
            name: self.tokens(vit, batch["image"])[2][:, 1:].unflatten(1, (14, 14)).float()
            for name, vit in found.items()
        }

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self._cosines: list[Tensor] = []

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Cosine similarity of the patches."""
        maps = self.maps(batch)
        self._cosines += torch.cosine_similarity(maps["raw"], maps["student"], dim=-1).mean(dim=(1, 2)).unbind()

    def on_validation_epoch_end(self) -> None:
        """Log the mean."""
        self.log("val/cosine", torch.stack(self._cosines).mean())


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--num-steps", type=int, default=6000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="at 256 images; sqrt rule")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Train, or continue, and write the folder."""
    options = parse()
    config = TrainingConfig(
        num_steps=options.num_steps,
        batch_size=options.batch_size,
        seed=options.seed,
        save_every=100,
        validate_every=500,
        optimizer=OptimizerConfig(
            base_learning_rate=options.learning_rate, warmup=0.05, weight_decay=0.02, clip_norm=1.0
        ),
        trainer=TrainerConfig(),
        logger=LoggerConfig(kind=LoggerKind.csv),
    )
    images = sorted((image for each in options.images for image in find_images(each)), key=lambda image: image.key)
    teacher = dvt.load_backbone("augreg_tiny", weights=options.teacher, image_size=224, device="cpu")
    student = build_vit(MICRO)
    settings = comparable_settings(config, TrainingConfig) | {
        "stage": "imitate",
        "teacher": teacher.weights_hash,
        "data": data_hash(images),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    start = find_start("auto", options.out / CHECKPOINTS, settings, allow_changes=False)
    train, val = (
        Crops([images[number] for number in part], config.seed)
        for part in split_by_key([image.key for image in images], NUM_VAL)
    )
    module = Imitation(student, config, settings, teacher)
    with TrainingLine("train", config.batch_size) as line:
        fitted = fit(module, train, val, config, options.out, start, on_progress=line.update)
    write_record(options.out, "train_embedded_backbone", config, fitted, start, device=module.device)
    if fitted.interrupted:
        print(f"stopped at step {fitted.step}; the same command continues")
        return
    state = {key: tensor.half() for key, tensor in student.state_dict().items()}
    save_model(options.out, state, describe(teacher, len(train), fitted.metrics, settings))
    print(f"written: {options.out}")


def describe(teacher: Backbone, num_images: int, metrics: dict[str, float], settings: dict[str, Any]) -> ModelInfo:
    """What the folder says of itself."""
    return ModelInfo(
        kind="backbone",
        backbone=MICRO,
        backbone_weights_hash=None,
        layer=5,
        norm=True,
        grid=teacher.grid,
        num_channels=192,
        architecture={"embed_dim": 192, "depth": 6, "num_heads": 3, "patch_size": 16},
        training={
            **settings,
            "teacher": teacher.timm_name,
            "teacher_sha256": teacher.weights_hash,
            "num_images": num_images,
        },
        metrics={name.removeprefix("val/"): value for name, value in metrics.items()},
        base_license="apache-2.0",
        code_version=__version__,
    )


if __name__ == "__main__":
    main()
