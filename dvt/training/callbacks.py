"""Lightning callbacks: checkpoints, an orderly stop, progress, panels, and the moving average of the weights."""

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor
from torch.utils.data import default_collate

from dvt.progress import Reporter
from dvt.training.checkpoints import remove_old
from dvt.training.config import TrainingConfig
from dvt.training.data import ItemSet
from dvt.training.loggers import log_image
from dvt.training.module import StageModule
from dvt.training.processes import check_replicas
from dvt.viz import draw_panel, sample_rows, save_png
from dvt.weights.checkpoint import checkpoint_path

_NUM_SHOWN = 4
"""Images of a panel."""


class SaveCheckpoints(L.Callback):
    """Saves every `save_every` steps and at the end, and keeps the newest few.

    Lightning's ModelCheckpoint deletes what its own state lists. Here the files in the folder count, so that a resumed
    run also rotates the checkpoints of the runs before it.
    """

    def __init__(self, folder: Path, config: TrainingConfig):
        self._folder, self._config = folder, config

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time."""
        step = trainer.global_step
        if step % self._config.save_every == 0 or step == self._config.num_steps or trainer.should_stop:
            assert isinstance(pl_module, StageModule)
            check_replicas(trainer, pl_module)
            trainer.save_checkpoint(checkpoint_path(self._folder, step))
            if trainer.is_global_zero:
                remove_old(self._folder, self._config.keep_checkpoints)


class StopInOrder(L.Callback):
    """Ctrl-C or SIGTERM ends the run after the current step, with a checkpoint; a second one ends it at once.

    Attributes:
        stopped: whether the run was ended that way.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Install the signal handlers."""
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._before[signum] = signal.signal(signum, self._on_signal)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop if a signal came; processes decide together."""
        if trainer.world_size > 1:
            self.stopped = trainer.strategy.reduce_boolean_decision(self.stopped, all=False)
        if self.stopped:
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the handlers."""
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Restore the handlers."""
        self._restore()

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.stopped:
            self._restore()
            raise KeyboardInterrupt
        self.stopped = True

    def _restore(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}


class ReportProgress(L.Callback):
    """Reports every step, and logs images per second and the learning rate."""

    def __init__(self, config: TrainingConfig, reporter: Reporter, task: str):
        self._config, self._reporter, self._task = config, reporter, task
        self._start_s, self._start_step, self._loss = 0.0, 0, ""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock; a resumed run counts the steps that are left."""
        self._start_s, self._start_step = time.perf_counter(), trainer.global_step
        if trainer.is_global_zero:
            self._reporter.start(self._config.num_steps - self._start_step, "steps", self._task)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the step. The loss is fetched from the device every `log_every` steps only."""
        step = trainer.global_step
        if step % self._config.log_every == 0:
            spent_s = max(time.perf_counter() - self._start_s, 1e-9)
            self._loss = f"loss {float(outputs['loss']):.4g}"
            pl_module.log("train/samples_per_s", (step - self._start_step) * self._config.batch_size / spent_s)
            pl_module.log("train/learning_rate", trainer.optimizers[0].param_groups[0]["lr"])
        if trainer.is_global_zero:
            at = f"step {step}" if self._start_step else ""
            self._reporter.advance(1, ", ".join(filter(None, (at, self._loss))))


class PublishedAverage(EMAWeightAveraging):
    """Lightning's exponential moving average of the weights, published also by a run resumed after its last step.

    Lightning puts the average in place when the last step ends; such a run has no step left.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Move the average to the device of the weights: it was made before they were moved."""
        super().on_train_start(trainer, pl_module)
        assert self._average_model is not None, "the trainer has set it up"
        self._average_model.to(pl_module.device)

    def publish(self, module: StageModule) -> None:
        """Copy the averaged weights into the module."""
        assert self._average_model is not None, "the trainer has set it up"
        average: Any = self._average_model.module
        with torch.no_grad():
            state = average.state_dict()
            for name, current in module.state_dict(keep_vars=False).items():
                current.copy_(state[name])


class ShowSamples(L.Callback):
    """Draws some validation images after validations: `<out>/panels/step-<n>.png`, and in the logger."""

    def __init__(self, val: ItemSet, folder: Path, every: int):
        """Choose the images.

        Args:
            val: the validation images.
            folder: folder of the panels.
            every: least number of steps between panels.
        """
        count = min(_NUM_SHOWN, len(val))
        self._val, self._folder, self._every = val, folder, every
        self._numbers = [number * len(val) // count for number in range(count)]
        self._shown_at = 0

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw with the weights that were validated; a moving average is swapped out again after this."""
        step = trainer.global_step
        if step - self._shown_at < self._every or not trainer.is_global_zero or trainer.state.fn != "fit":
            return
        self._shown_at = step
        assert isinstance(pl_module, StageModule)
        batch = default_collate([self._val[number] for number in self._numbers])
        on_device = {
            name: value.to(pl_module.device) if isinstance(value, Tensor) else value for name, value in batch.items()
        }
        with torch.no_grad():
            maps = pl_module.maps(on_device)
        rows = [
            (key, {name: each[number].float().cpu() for name, each in maps.items()})
            for number, key in enumerate(batch["key"])
        ]
        panel = draw_panel(sample_rows(rows), title=f"step {step}")
        save_png(panel, self._folder / f"step-{step:08d}.png")
        log_image(trainer.logger, "val/samples", np.asarray(panel.convert("RGB")), step)
