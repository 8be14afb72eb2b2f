"""Run a training from its start to its end or to a stop, and record it."""

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler
from torch import Tensor
from torch.utils.data import Dataset

from dvt.errors import ConfigError, first_line
from dvt.files import plain, to_json, write_atomic
from dvt.progress import SILENT, Reporter
from dvt.runtime import environment
from dvt.training.callbacks import PublishedAverage, ReportProgress, SaveCheckpoints, ShowSamples, StopInOrder
from dvt.training.checkpoints import AtomicCheckpointIO, Start, tidy
from dvt.training.config import TrainingConfig
from dvt.training.data import ItemSet, StepData
from dvt.training.loggers import closing, make_logger
from dvt.training.module import StageModule
from dvt.training.processes import end_together
from dvt.weights.checkpoint import CHECKPOINTS
from dvt.weights.folder import save_model
from dvt.weights.info import ModelInfo


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a training ended."""

    step: int
    """Updates done."""
    interrupted: bool
    """Whether it was stopped early; its last step has a checkpoint."""
    metrics: dict[str, float]
    """Metrics of the last validation by name; empty when stopped."""
    seconds: float
    """Seconds from the first step to the last."""
    is_main: bool
    """Whether this process writes the files."""

    @property
    def measured(self) -> dict[str, float]:
        """The metrics as a published model names them."""
        return {name.removeprefix("val/"): value for name, value in self.metrics.items()}


@dataclass(frozen=True, slots=True)
class Trained:
    """How a run of stage 2 or 3 ended."""

    out: Path
    """Folder of the run, and model folder of the result once it is finished."""
    step: int
    """Updates done."""
    interrupted: bool
    """Whether it was stopped early; the same call continues it."""
    metrics: dict[str, float]
    """Metrics of the last validation."""
    notes: tuple[str, ...]
    """Notes of the start: damaged checkpoints that were skipped, settings that changed."""


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
        module: the network and its loss.
        train: training images; items are read by `Draw`.
        val: validation images; items are read by number.
        config: options.
        out: folder for checkpoints and logs.
        start: where the run starts.
        callbacks: further callbacks of the stage.
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
    own.append(SaveCheckpoints(out / CHECKPOINTS, config))  # last: it saves the state after the others
    data = StepData(train, val, config, start.step)
    with _quiet_lightning(), end_together(trainer := _make_trainer(config, out, own)), closing(trainer.logger):
        if trainer.is_global_zero:
            tidy(out / CHECKPOINTS, start.step)
        start_s = time.perf_counter()
        try:
            trainer.fit(module, datamodule=data, ckpt_path=start.checkpoint, weights_only=True)
        except SystemExit as error:  # of Lightning, where Ctrl-C comes before the first step
            raise KeyboardInterrupt from error
        step, seconds = trainer.global_step, time.perf_counter() - start_s
        if stop.stopped:
            return Fitted(step, True, {}, seconds, trainer.is_global_zero)
        if average is not None:
            average.publish(module)
        (found,) = trainer.validate(module, datamodule=data, verbose=False)
    metrics = {name: float(value) for name, value in found.items()}
    return Fitted(step, False, metrics, seconds, trainer.is_global_zero)


def train_and_publish(
    module: StageModule,
    train: ItemSet,
    val: ItemSet,
    config: TrainingConfig,
    out: Path,
    start: Start,
    *,
    command: str,
    about: ModelInfo,
    state: Callable[[], Mapping[str, Tensor]],
    reporter: Reporter,
) -> Trained:
    """Train a network, draw panels of validation images, record the run, and write the model once it is finished.

    Args:
        module: the network and its loss.
        train: training images; items are read by `Draw`.
        val: validation images; items are read by number.
        config: options.
        out: folder of the run, and of the model.
        start: where the run starts.
        command: the verb of the command line.
        about: what the model is and learned from; the numbers of the run and its metrics are added.
        state: gives the tensors to publish after the training.
        reporter: shows every step and its loss.

    Raises:
        TrainingError, ConfigError, DiskError: as `fit`.
    """
    shown = (ShowSamples(val, out / "panels", config.show_every),) if config.show_every else ()
    fitted = fit(module, train, val, config, out, start, callbacks=shown, reporter=reporter, task=command)
    if fitted.is_main:
        if not fitted.interrupted:
            numbers = {
                "num_images": len(train),
                "num_val_images": len(val),
                "num_steps": fitted.step,
                "batch_size": config.batch_size,
                "seed": config.seed,
                "base_learning_rate": config.optimizer.base_learning_rate,
            }
            save_model(out, state(), replace(about, training=about.training | numbers, metrics=fitted.measured))
        write_record(out, command, config, fitted, start, device=module.device)
    return Trained(out, fitted.step, fitted.interrupted, fitted.metrics, start.notes)


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
            profiler=_profiler(where.profiler, out),
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
            f" strategy={where.strategy}, precision={where.precision}: {first_line(error)}"
        ) from error


def _profiler(name: str | None, out: Path) -> Profiler | None:
    """A profiler that writes `<out>/fit-profile.txt` and `<out>/validate-profile.txt`."""
    if name is None:
        return None
    out.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, type[Profiler]] = {
        "simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler,
    }  # fmt: skip
    return kinds[name](dirpath=out, filename="profile")


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence the banners of Lightning, and its advice to read data in other processes."""
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


_NOT_RESULTS = (
    "resume", "allow_changes", "save_every", "keep_checkpoints", "validate_every", "show_every", "log_every",
    "num_workers", "trainer", "logger",
)  # fmt: skip
"""Options that do not change what is learned."""


def comparable_settings(config: TrainingConfig, kind: type[TrainingConfig]) -> dict[str, Any]:
    """The options that change the result, as plain JSON: a resumed run must share them with its checkpoint.

    Args:
        config: all options; those of the command line have more than `kind`, such as paths.
        kind: the class whose options count.
    """
    options: dict[str, Any] = plain(config)
    names = [entry.name for entry in fields(kind) if entry.name not in _NOT_RESULTS]
    if not config.one_batch:  # checkpoints from before this option do not have it
        names.remove("one_batch")
    return {name: options[name] for name in names} | {"precision": options["trainer"]["precision"]}


def write_record(
    out: Path, command: str, config: TrainingConfig, fitted: Fitted, start: Start, device: torch.device
) -> None:
    """Record a run beside its output: `<out>/runs/<time in UTC>.json`.

    Raises:
        DiskError: the disk is full or refuses.
    """
    folder = out / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "command": command,
        "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "first_step": start.step,
        "last_step": fitted.step,
        "seconds": round(fitted.seconds, 3),
        "interrupted": fitted.interrupted,
        "notes": start.notes,
        "metrics": fitted.metrics,
        "config": config,
        "environment": environment(device),
    }
    name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + f"-step{fitted.step}.json"
    write_atomic(folder / name, to_json(record).encode())
