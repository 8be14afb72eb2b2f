"""The training of stage 2 itself, whatever its pairs come from: run it, resumably, and publish the denoiser."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import Dataset

from dvt.backbone.backbone import Backbone
from dvt.backbone.catalogue import licence_of
from dvt.denoiser.config import TrainConfig
from dvt.denoiser.module import DenoiserModule
from dvt.denoiser.network import Denoiser
from dvt.progress import Reporter
from dvt.runtime import seed_for
from dvt.store import StoreMeta
from dvt.training.pictures import ShowSamples
from dvt.training.record import comparable_settings, write_record
from dvt.training.resume import Start, find_start
from dvt.training.run import Fitted, Trained, fit
from dvt.version import __version__
from dvt.weights.checkpoint import CHECKPOINTS, spec_settings
from dvt.weights.folder import save_model
from dvt.weights.info import ModelInfo


@runtime_checkable
class PairSource(Protocol):
    """Where the pairs of a training come from."""

    @property
    def meta(self) -> StoreMeta:
        """What the features are."""

    @property
    def num_images(self) -> int:
        """How many images there are, for training and validation."""

    @property
    def data_hash(self) -> str:
        """Hash of which images' features these are, and how they are made."""

    @property
    def stage1(self) -> list[dict[str, Any]]:
        """How the clean features are made, as plain JSON."""


Pairs = Dataset[dict[str, Any]]
"""Pairs of one side of the split; a data set that knows its length."""


def learn(
    source: PairSource,
    make_pairs: Callable[[Start], tuple[Pairs, Pairs]],
    out: Path,
    config: TrainConfig,
    *,
    backbone: Backbone | None,
    summary: str,
    reporter: Reporter,
) -> Trained:
    """Train a denoiser on pairs.

    Args:
        source: what is to be said of the pairs.
        make_pairs: those to learn from, and those to validate on; asked for once it is known where
            the run begins.
        out: folder of the run.
        config: all options.
        backbone: the frozen ViT, where pairs hold images.
        summary: the run in a line, for the reporter.
        reporter: shows the notes of the start, then every step.

    Raises:
        TrainingError: a loss that is not finite, or a run that cannot be resumed.
        ConfigError: options that do not go together.
    """
    settings = _settings(config, source)
    start = find_start(config.resume, out / CHECKPOINTS, settings, allow_changes=config.allow_changes)
    start.report(summary, reporter)
    train, val = make_pairs(start)
    num_train, num_val = (len(each) for each in (train, val))  # type: ignore[arg-type]
    module = DenoiserModule(_untrained(source, config), config, settings, backbone)
    shown = (ShowSamples(val, num_val, out / "pictures", config.show_every),) if config.show_every else ()
    fitted = fit(module, train, val, config, out, start, callbacks=shown, reporter=reporter, task="train")
    if fitted.is_main:
        if not fitted.interrupted:
            info = describe(source, config, fitted, num_train, num_val)
            save_model(out, module.network.state_dict(), info)
        write_record(out, "train", config, fitted, start, device=module.device)
    return Trained(out, fitted.step, fitted.interrupted, fitted.metrics, start.notes)


def describe(source: PairSource, config: TrainConfig, fitted: Fitted, num_train: int, num_val: int) -> ModelInfo:
    """What the published denoiser says of itself."""
    return ModelInfo(
        kind="denoiser",
        spec=source.meta.spec,
        architecture=asdict(config.denoiser) | {"kind": config.denoiser.kind.value},
        training={
            "data_sha256": source.data_hash,
            "num_images": num_train,
            "num_val_images": num_val,
            "stage1": source.stage1,
            "num_steps": fitted.step,
            "batch_size": config.batch_size,
            "seed": config.seed,
            "base_learning_rate": config.optimizer.base_learning_rate,
        },
        metrics=fitted.measured,
        base_license=licence_of(source.meta.spec.backbone),
        code_version=__version__,
    )


def _settings(config: TrainConfig, source: PairSource) -> dict[str, Any]:
    """What decides the result."""
    settings = comparable_settings(config, TrainConfig)
    del settings["pairs"]["missing"]  # what was left out shows in the number of images, and in their hash
    return {
        **settings,
        "stage": "train",
        "num_images": source.num_images,
        "data": source.data_hash,
        **spec_settings(source.meta.spec),
    }


def _untrained(source: PairSource, config: TrainConfig) -> Denoiser:
    """The denoiser with its first weights, which depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(config.seed, "first weights"))
        return Denoiser(config.denoiser, source.meta.spec.channels, source.meta.spec.grid.hw)
