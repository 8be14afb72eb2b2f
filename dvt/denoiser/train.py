"""Stage 2: train a denoiser on feature stores, resumably, and publish it as a model folder."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from dvt.backbone.backbone import Backbone
from dvt.backbone.catalogue import licence_of
from dvt.denoiser.config import Raw, TrainConfig, check_pictures
from dvt.denoiser.module import DenoiserModule
from dvt.denoiser.network import Denoiser
from dvt.denoiser.pairs import ComputedPairs, PicturePairs, StoredPairs
from dvt.denoiser.sources import Pair, Sources, open_sources
from dvt.errors import ConfigError
from dvt.images import ImageFile
from dvt.publishing.model_info import ModelInfo
from dvt.publishing.publish import save_model
from dvt.runtime import seed_for
from dvt.training.callbacks import TrainingProgress
from dvt.training.checkpoint_names import CHECKPOINTS
from dvt.training.features import LearntFeatures
from dvt.training.pictures import ShowSamples
from dvt.training.record import comparable_settings, write_record
from dvt.training.resume import Start, claim_folder, find_start
from dvt.training.run import Fitted, Trained, fit
from dvt.version import __version__


def train_denoiser(
    stores: Sequence[str | Path],
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    backbone: Backbone | None = None,
    images: Sequence[ImageFile] | None = None,
    needs: dict[str, Any] | None = None,
    max_pixels: int = 100_000_000,
    on_start: Callable[[Sources, Start], None] = lambda sources, start: None,
    on_progress: Callable[[TrainingProgress], None] = lambda progress: None,
) -> Trained:
    """Train a denoiser on the features of one or several stores.

    Args:
        stores: folders that `dvt decompose` filled, for one backbone and one reading of it.
        out: folder of the run: checkpoints, logs, pictures, and at the end `weights.safetensors` and `config.json`.
        config: all options; None: the defaults.
        backbone: the frozen ViT that the stores were made with; not needed with `pairs.raw=stored`.
        images: learn from these only, by key; not needed with `pairs.raw=stored`.
        needs: what the features have to be, as `FeatureStore.require` takes it.
        max_pixels: larger pictures are refused.
        on_start: told the sources, and where the run begins and what to know about it.
        on_progress: told after every step.

    Raises:
        StoreError: a store is missing or damaged, or its features are others than those needed.
        TrainingError: nothing to learn from, images without features, a loss that is not finite, or a run that cannot
            be resumed.
        ConfigError: options that do not go together.
    """
    out, config = Path(out), config or TrainConfig()
    check_pictures(config, given=images is not None)
    used = {} if backbone is None else {"weights_hash": backbone.weights_hash, "grid": backbone.grid}
    claim_folder(out, "denoiser")
    sources = open_sources(stores, {**(needs or {}), **used}, images, config.pairs.missing)
    pairs = sources.split(config.pairs.val_share)
    settings = _settings(config, sources)
    start = find_start(config.resume, out / CHECKPOINTS, settings, allow_changes=config.allow_changes)
    on_start(sources, start)
    train, val = (_data_set(part, sources, config, backbone, max_pixels) for part in pairs)
    module = DenoiserModule(_untrained(sources, config), config, settings, backbone)
    shown = (ShowSamples(val, len(pairs[1]), out / "pictures", config.show_every),) if config.show_every else ()
    fitted = fit(module, train, val, config, out, start, callbacks=shown, on_progress=on_progress)
    if fitted.is_main:
        if not fitted.interrupted:
            info = describe(sources, config, fitted, len(pairs[0]), len(pairs[1]))
            save_model(out, module.network.state_dict(), info)
        write_record(out, "train", config, fitted, start, device=module.device)
    return Trained(out, fitted.step, fitted.interrupted, fitted.metrics, start.notes)


def describe(sources: Sources, config: TrainConfig, fitted: Fitted, num_train: int, num_val: int) -> ModelInfo:
    """What the published denoiser says of itself."""
    meta = sources.meta
    return ModelInfo(
        kind="denoiser",
        backbone=meta.backbone,
        backbone_weights_hash=meta.weights_hash,
        layer=meta.layer,
        norm=meta.norm,
        grid=meta.grid,
        num_channels=meta.channels,
        architecture=asdict(config.denoiser) | {"kind": config.denoiser.kind.value},
        training={
            "data_sha256": sources.data_hash,
            "num_images": num_train,
            "num_val_images": num_val,
            "stage1": [{"quality": store.meta.quality, "solver": store.meta.solver} for store in sources.stores],
            "num_steps": fitted.step,
            "batch_size": config.batch_size,
            "seed": config.seed,
            "base_learning_rate": config.optimizer.base_learning_rate,
        },
        metrics={name.removeprefix("val/"): value for name, value in fitted.metrics.items()},
        base_license=licence_of(meta.backbone),
        code_version=__version__,
    )


def _settings(config: TrainConfig, sources: Sources) -> dict[str, Any]:
    """What decides the result."""
    meta = sources.meta
    learnt = LearntFeatures(
        backbone=meta.backbone,
        weights_hash=meta.weights_hash,
        layer=meta.layer,
        norm=meta.norm,
        image_hw=meta.grid.image_hw,
        stride=meta.grid.stride,
    )
    settings = comparable_settings(config, TrainConfig)
    del settings["pairs"]["missing"]  # what was left out shows in the number of images, and in their hash
    return {
        **settings,
        "stage": "train",
        "num_images": sources.num_images,
        "data": sources.data_hash,
        **learnt.to_settings(),
    }


def _untrained(sources: Sources, config: TrainConfig) -> Denoiser:
    """The denoiser with its first weights, which depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(config.seed, "first weights"))
        return Denoiser(config.denoiser, sources.meta.channels, sources.meta.grid.hw)


def _data_set(
    pairs: list[Pair],
    sources: Sources,
    config: TrainConfig,
    backbone: Backbone | None,
    max_pixels: int,
) -> Dataset[dict[str, Any]]:
    layers = config.denoiser.layers
    if config.pairs.raw is Raw.stored:
        if "raw" not in sources.meta.arrays:
            raise ConfigError(
                "the store holds no raw features: give pairs.raw=recomputed and images=..., or make a store with"
                " arrays=[raw,clean]."
            )
        return StoredPairs(pairs)
    if backbone is None:
        raise ConfigError(f"pairs.raw={config.pairs.raw.value} needs the ViT that the stores were made with: backbone.")
    if any(layer >= backbone.layer for layer in layers):
        raise ConfigError(
            f"denoiser.layers={layers}: give blocks before block {backbone.layer}, which the store is of."
        )
    if config.pairs.raw is Raw.computed:
        return ComputedPairs(pairs, backbone, layers, max_pixels)
    return PicturePairs(pairs, sources.meta.grid, config.pairs, config.seed, max_pixels)
