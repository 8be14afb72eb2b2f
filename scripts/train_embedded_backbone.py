#!/usr/bin/env python
"""Train the ViT that comes with the project: a small ViT imitates a larger one.

    python scripts/train_embedded_backbone.py --images FOLDER [FOLDER ...] --teacher FILE --out runs/vit_micro

FILE: weights of vit_tiny_patch16_224.augreg_in21k_ft_in1k. The student starts with random weights. On random crops it
learns the tokens of the teacher before its first block, after every second block, and after its final norm. The student
learns the teacher's artifact too, through its own position embeddings; nothing is planted.

OUT gets checkpoints (the same command continues), then a model folder: fp16 weights, config.json and a card.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from muon import MuonAndAdam
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

import dvt
from dvt.backbone.backbone import Backbone
from dvt.backbone.micro import MICRO
from dvt.backbone.sources.timm_build import build_vit
from dvt.cli.reporter import TerminalReporter
from dvt.distillation.distill import data_hash
from dvt.images import ImageFile, find_images, read_image
from dvt.runtime import seed_for
from dvt.shapes import FeatureMaps
from dvt.spec import FeatureSpec
from dvt.training.checkpoints import find_start
from dvt.training.config import LoggerConfig, LoggerKind, OptimizerConfig, TrainerConfig, TrainingConfig
from dvt.training.data import Draw, split_by_key
from dvt.training.module import Frozen, StageModule
from dvt.training.run import comparable_settings, fit, write_record
from dvt.version import __version__
from dvt.views.config import ViewsConfig
from dvt.views.crop import Crop, sample_crops
from dvt.views.render import make_source, render_views
from dvt.weights.checkpoint import CHECKPOINTS
from dvt.weights.folder import save_model
from dvt.weights.info import ModelInfo

IMAGE_HW = (224, 224)
NUM_VAL = 64
CROPS = ViewsConfig(num_views=1, area_min=0.15, area_max=1.0, flip_probability=0.5)


class Crops(Dataset[dict[str, Any]]):
    """`key` and `image` (3, 224, 224): a random crop of a drawn image, or the whole image for an index."""

    def __init__(self, images: Sequence[ImageFile], seed: int):
        self._images, self._seed = images, seed
        self._sources: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, item: Draw | int) -> dict[str, Any]:
        number = item.index if isinstance(item, Draw) else item
        source = self._source(number)
        source_hw = (source.shape[-2], source.shape[-1])
        crop = Crop.whole(source_hw)
        if isinstance(item, Draw):
            crop = sample_crops(source_hw, IMAGE_HW, 1, seed_for(self._seed, f"draw {item.number}"), CROPS)[0]
        image = render_views(source, [crop], IMAGE_HW)[0].clamp(0, 1)
        return {"key": self._images[number].key, "image": image}

    def _source(self, number: int) -> Tensor:
        """The image that crops are taken from; cached in one byte a value."""
        if number not in self._sources:
            source = make_source(read_image(self._images[number].path), IMAGE_HW, CROPS)
            self._sources[number] = (255 * source.clamp(0, 1)).round().byte()
        return self._sources[number].float() / 255


class Imitation(StageModule):
    """The distance of a small ViT's tokens from those of a larger one."""

    def __init__(self, student: nn.Module, config: TrainingConfig, settings: dict[str, Any], teacher: Backbone):
        super().__init__(student, config, settings)
        self._teacher = Frozen(teacher)

    def configure_optimizers(self) -> Any:
        """Muon and Adam, with the learning rates of every step."""
        wanted: Any = super().configure_optimizers()
        optimizer = MuonAndAdam(self.network, lr=wanted["optimizer"].param_groups[0]["lr"])
        factor = wanted["lr_scheduler"]["scheduler"].lr_lambdas[0]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def states(self, vit: Any, images: Tensor, every: int) -> list[Tensor]:
        """(B, N, C) tokens before the first block, and after every so many blocks; class token first."""
        teacher = self._teacher.network
        tokens = vit._pos_embed(vit.patch_embed((images - teacher.mean) / teacher.std))
        states = [tokens]
        for number, block in enumerate(vit.blocks, 1):
            tokens = block(tokens)
            if number % every == 0:
                states.append(tokens)
        return states

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """What of the teacher's tokens is not explained: of their direction at every depth, and after the final norm.

        Before the norm some tokens are twenty times as long as others: their lengths are compared one by one.
        """
        teacher: Any = self._teacher.network.vit
        student: Any = self.network
        with torch.no_grad():
            wanted = self.states(teacher, batch["image"], every=2)
            wanted_output = teacher.norm(wanted[-1])
        given = self.states(student, batch["image"], every=1)
        depths = [unexplained(direction(one), direction(other)) for one, other in zip(given, wanted, strict=True)]
        lengths = [
            ((one - other).square().sum(-1) / other.square().sum(-1)).mean()
            for one, other in zip(given, wanted, strict=True)
        ]
        output = unexplained(student.norm(given[-1]), wanted_output)
        return output + torch.stack(depths).mean() + 0.3 * torch.stack(lengths).mean()

    def maps(self, batch: dict[str, Any]) -> dict[str, FeatureMaps]:
        """The patches of both, after the norm."""
        teacher = self._teacher.network
        found = {"raw": teacher.vit, "student": self.network}
        return {
            name: vit.forward_features((batch["image"] - teacher.mean) / teacher.std)[:, 1:].unflatten(1, (14, 14))
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


def direction(tokens: Tensor) -> Tensor:
    """Tokens without their mean and length."""
    return functional.layer_norm(tokens, tokens.shape[-1:])


def unexplained(given: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error in units of the variance of what is wanted, over the tokens of a batch: 1 is no knowledge."""
    return functional.mse_loss(given, wanted) / wanted.flatten(0, -2).var(0).mean()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--num-steps", type=int, default=3400)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="of Adam, at its highest")
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
            base_learning_rate=options.learning_rate,
            reference_batch=options.batch_size,
            warmup=0.05,
            weight_decay=0.02,
            beta2=0.99,
        ),
        trainer=TrainerConfig(),
        logger=LoggerConfig(kind=LoggerKind.csv),
    )
    images = sorted((image for each in options.images for image in find_images(each)), key=lambda image: image.key)
    teacher = dvt.load_backbone("augreg_tiny", weights=options.teacher, image_size=224, device="cpu")
    torch.manual_seed(seed_for(config.seed, "first weights"))
    student = build_vit(MICRO)
    settings = comparable_settings(config, TrainingConfig) | {
        "stage": "imitate",
        "optimizer": {"matrices": "muon", "others": "adam", **asdict(config.optimizer)},
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
    with TerminalReporter() as reporter:
        fitted = fit(module, train, val, config, options.out, start, reporter=reporter)
    write_record(options.out, "train_embedded_backbone", config, fitted, start, device=module.device)
    if fitted.interrupted:
        print(f"stopped at step {fitted.step}; the same command continues")
        return
    state = {key: tensor.half() for key, tensor in student.state_dict().items()}
    save_model(options.out, state, describe(teacher, len(train), fitted.measured, settings))
    print(f"written: {options.out}")


def describe(teacher: Backbone, num_images: int, metrics: dict[str, float], settings: dict[str, Any]) -> ModelInfo:
    """What the folder says of itself."""
    return ModelInfo(
        kind="backbone",
        spec=FeatureSpec(backbone=MICRO, weights_hash=None, layer=5, norm=True, grid=teacher.grid, channels=192),
        architecture={"embed_dim": 192, "depth": 6, "num_heads": 3, "patch_size": 16},
        training={
            **settings,
            "teacher": teacher.full_name,
            "teacher_sha256": teacher.weights_hash,
            "num_images": num_images,
        },
        metrics=metrics,
        base_license="apache-2.0",
        code_version=__version__,
    )


if __name__ == "__main__":
    main()
