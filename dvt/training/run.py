"""fit: run a training from where it stands to its end, or to where it is stopped."""

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader, Dataset

from dvt.errors import ConfigError
from dvt.progress import SILENT, Reporter
from dvt.training.average import PublishedAverage
from dvt.training.batches import StepBatches
from dvt.training.callbacks import ReportProgress, SaveCheckpoints, StopInOrder
from dvt.training.checkpoints import AtomicCheckpointIO, tidy
from dvt.training.config import TrainingConfig
from dvt.training.loggers import closing, make_logger
from dvt.training.module import StageModule
from dvt.training.processes import one_fate
from dvt.training.resume import Start
from dvt.weights.checkpoint import CHECKPOINTS


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a training ended."""

    step: int
    """Updates done."""
    interrupted: bool
    """Whether it was stopped before its end; the checkpoint of its last step is there."""
    metrics: dict[str, float]
    """Numbers of the last validation, by name; empty when it was stopped."""
    seconds: float
    """Time from the first step to the last."""
    is_main: bool
    """Whether this process is the one that writes files."""

    @property
    def measured(self) -> dict[str, float]:
        """The metrics by the names that a published model gives them."""
        return {name.removeprefix("val/"): value for name, value in self.metrics.items()}


@dataclass(frozen=True, slots=True)
class Trained:
    """How a run of stage 2 or 3 ended."""

    out: Path
    """The folder of the run; also the model folder of the result, once it is finished."""
    step: int
    """Updates done."""
    interrupted: bool
    """Whether it was stopped before its end; the same call continues it."""
    metrics: dict[str, float]
    """Numbers of the last validation."""
    notes: tuple[str, ...]
    """What the person should know about how it began."""


@runtime_checkable
class Prepared(Protocol):
    """A data set that computes something before its first item is asked for."""

    def prepare(self, device: torch.device) -> None:
        """Compute it; called more than once."""


class StepData(L.LightningDataModule):
    """Hands the steps of a run to Lightning, beginning where the run stands; every process validates on everything."""

    def __init__(self, train: Dataset[object], val: Dataset[object], config: TrainingConfig, start_step: int):
        super().__init__()
        self._train, self._val, self._config, self._start_step = train, val, config, start_step

    def setup(self, stage: str) -> None:
        """Let the data sets compute what they need, on the device of this process."""
        assert self.trainer is not None
        for data in (self._train, self._val):
            if isinstance(data, Prepared):
                data.prepare(self.trainer.strategy.root_device)

    def train_dataloader(self) -> DataLoader[object]:
        """The batches of the steps that are left."""
        assert self.trainer is not None
        batches = StepBatches(
            len(self._train),  # type: ignore[arg-type]
            self._config.batch_size,
            self._config.num_steps,
            self._config.seed,
            start_step=self._start_step,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return self._loader(self._train, batch_sampler=batches)

    def val_dataloader(self) -> DataLoader[object]:
        """The validation images in order."""
        return self._loader(self._val, batch_size=min(32, self._config.batch_size))

    def _loader(self, data: Dataset[object], **options: object) -> DataLoader[object]:
        workers = self._config.num_workers
        return DataLoader(
            data,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.trainer is not None and self.trainer.accelerator.__class__.__name__ == "CUDAAccelerator",
            **options,  # type: ignore[arg-type]
        )


def fit(
    module: StageModule,
    train: Dataset[object],
    val: Dataset[object],
    config: TrainingConfig,
    out: Path,
    start: Start,
    *,
    callbacks: tuple[Callback, ...] = (),
    reporter: Reporter = SILENT,
    task: str = "train",
) -> Fitted:
    """Train a network.

    Args:
        module: what is trained, and its loss.
        train: images of the training; items are asked for by `Draw`.
        val: images of the validation; items are asked for by number.
        config: how.
        out: folder for checkpoints and logs.
        start: where the run begins.
        callbacks: what the stage wants to do between the steps.
        reporter: shows every step and its loss.
        task: the word for this work in the reporter.

    Raises:
        TrainingError: the loss is not finite.
        ConfigError: a trainer option that does not work on this machine.
        DiskError: a checkpoint cannot be written.
    """
    stop = StopInOrder()
    own: list[Callback] = [ReportProgress(config, reporter, task), *callbacks, stop]
    average = PublishedAverage(decay=config.optimizer.ema_decay) if config.optimizer.ema_decay else None
    if average is not None:
        own.append(average)
    own.append(SaveCheckpoints(out / CHECKPOINTS, config))  # last: what it writes is the state after the others
    data = StepData(train, val, config, start.step)
    with _quiet_lightning(), one_fate(trainer := _make_trainer(config, out, own)), closing(trainer.logger):
        if trainer.is_global_zero:
            tidy(out / CHECKPOINTS, start.step)
        begun_s = time.perf_counter()
        trainer.fit(module, datamodule=data, ckpt_path=start.checkpoint, weights_only=True)
        step, seconds = trainer.global_step, time.perf_counter() - begun_s
        if stop.stopped:
            return Fitted(step, True, {}, seconds, trainer.is_global_zero)
        if average is not None:
            average.publish(module)
        (found,) = trainer.validate(module, datamodule=data, verbose=False)
    metrics = {name: float(value) for name, value in found.items()}
    return Fitted(step, False, metrics, seconds, trainer.is_global_zero)


def _make_trainer(config: TrainingConfig, out: Path, callbacks: list[Callback]) -> L.Trainer:
    where = config.trainer
    try:
        return L.Trainer(
            accelerator=where.accelerator,
            devices=where.devices,
            num_nodes=where.num_nodes,
            strategy=where.strategy,
            precision=where.precision,  # type: ignore[arg-type]
            max_steps=config.num_steps,
            max_epochs=-1,
            val_check_interval=config.validate_every,
            check_val_every_n_epoch=None,
            log_every_n_steps=config.log_every,
            num_sanity_val_steps=0,
            gradient_clip_val=config.optimizer.clip_norm or None,
            callbacks=callbacks,
            logger=make_logger(config.logger, out) or False,
            plugins=[AtomicCheckpointIO()],
            default_root_dir=out,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except ConfigError:
        raise
    except (MisconfigurationException, ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(
            f"the trainer cannot run with accelerator={where.accelerator}, devices={where.devices},"
            f" strategy={where.strategy}, precision={where.precision}: {str(error).partition(chr(10))[0]}"
        ) from error


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without its banners, and without advice that does not fit: data read in this process is a choice here."""
    names = ("lightning.pytorch", "lightning.fabric")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
