"""StageModule: the optimisation of a network under Lightning."""

from collections.abc import Sequence
from math import sqrt
from typing import Any, ClassVar

import lightning as L
import torch
from torch import Tensor, nn

from dvt.errors import TrainingError
from dvt.schedules import warmup_then_cosine
from dvt.shapes import FeatureMaps
from dvt.training.config import OptimizerConfig, TrainingConfig
from dvt.training.validation import Comparison
from dvt.weights.checkpoint import OURS

_ADVICE = (
    "Look at these images' features, or lower optimizer.base_learning_rate, give optimizer.clip_norm=1, or"
    " trainer.precision=32-true; with resume=auto the run goes on from its last checkpoint, if it has one."
)
_CHECK_EVERY = 16
"""Steps whose losses are checked together on an accelerator: each check waits for the device."""


def peak_learning_rate(config: OptimizerConfig, batch_size: int) -> float:
    """The highest learning rate of a run, by the square-root rule of the released code.

    Args:
        config: the optimiser.
        batch_size: images per update, over all devices.

    Examples:
        >>> peak_learning_rate(OptimizerConfig(base_learning_rate=2e-4, reference_batch=256), 64)
        0.0001
    """
    return config.base_learning_rate * sqrt(batch_size / config.reference_batch)


def learning_rate_at(step: int, num_steps: int, config: OptimizerConfig, batch_size: int) -> float:
    """Linear warm-up from zero, then half a cosine down to the final learning rate.

    Args:
        step: updates done so far, from 0.
        num_steps: updates of the whole run.
        config: the optimiser.
        batch_size: images per update, over all devices.
    """
    return warmup_then_cosine(
        step,
        num_steps,
        peak=peak_learning_rate(config, batch_size),
        final=config.final_learning_rate,
        warmup_steps=config.warmup * num_steps,
    )


class Frozen:
    """Holds a network that is used but not trained: Lightning neither saves nor copies nor moves it."""

    def __init__(self, network: Any):
        self.network = network

    def __deepcopy__(self, memo: dict[int, Any]) -> "Frozen":
        return self


class StageModule(L.LightningModule):
    """AdamW with warm-up and cosine on the parameters of `network` that require gradients.

    A stage derives from it and defines the loss and the maps of a batch. A validation compares the raw and the learned
    maps with the target. A loss that is not finite ends the run.
    """

    learned: ClassVar[str]
    """Name of the maps that the network gives."""
    target: ClassVar[str]
    """Name of the maps to learn."""

    def __init__(self, network: nn.Module, config: TrainingConfig, settings: dict[str, Any], frozen: Any = None):
        """Set up a training.

        Args:
            network: the network to train.
            config: options of the training.
            settings: settings of the run as plain JSON; kept in the checkpoints.
            frozen: a network that is used but not trained, such as a teacher.
        """
        super().__init__()
        self.frozen = Frozen(frozen)
        self.network = network
        self.options = config
        self.settings = settings
        self._unchecked: list[tuple[int, Sequence[str], Tensor]] = []

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """The loss of a batch; `batch["key"]` names its images."""
        raise NotImplementedError

    def maps(self, batch: dict[str, Any]) -> dict[str, FeatureMaps]:
        """The feature maps of a batch of validation images by name, `raw` first; compared, and drawn in panels."""
        raise NotImplementedError

    def on_fit_start(self) -> None:
        """Move the frozen network to the device of the training."""
        if self.frozen.network is not None:
            self.frozen.network.to(self.device)

    def on_validation_epoch_start(self) -> None:
        """Start the comparison."""
        self.comparison = Comparison(self.learned, self.target)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Compare the maps of a batch."""
        self.compare(self.maps(batch))

    def compare(self, maps: dict[str, FeatureMaps]) -> None:
        """Add the maps of a batch to the comparison."""
        self.comparison.update(maps)

    def on_validation_epoch_end(self) -> None:
        """Log the means over all validation images."""
        self.log_dict({f"val/{name}": value for name, value in self.comparison.means().items()})

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """One step. The loss is checked before it reaches the weights (on a CPU) or a checkpoint (elsewhere)."""
        loss = self.loss(batch)
        self._unchecked.append((self.global_step, batch["key"], loss.detach()))
        if self.device.type == "cpu" or len(self._unchecked) >= _CHECK_EVERY:
            self.check_losses()
        self.log("train/loss", loss.detach())
        return loss

    def check_losses(self) -> None:
        """Check the losses since the last check.

        Raises:
            TrainingError: one is NaN or infinite; the text names its step and its images.
        """
        losses, self._unchecked = self._unchecked, []
        if not losses or bool(torch.stack([loss for _, _, loss in losses]).isfinite().all()):
            return
        step, keys, loss = next(each for each in losses if not bool(each[2].isfinite()))
        raise TrainingError(
            f"the loss of step {step} is {loss.item()}. Its images: {', '.join(map(str, keys))}.\n"
            f"No checkpoint was written since. {_ADVICE}"
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What AdamW trains: `params`, and their highest learning rate `lr`; the network first."""
        peak = peak_learning_rate(self.options.optimizer, self.options.batch_size)
        return [{"params": [each for each in self.network.parameters() if each.requires_grad], "lr": peak}]

    def configure_optimizers(self) -> Any:
        """AdamW, and the learning rate of every step."""
        options = self.options.optimizer
        peak = peak_learning_rate(options, self.options.batch_size)
        optimizer = torch.optim.AdamW(
            self.parameter_groups(),
            betas=(options.beta1, options.beta2),
            weight_decay=options.weight_decay,
        )

        # LinearLR and CosineAnnealingLR need a warm-up of whole steps, and round differently after a resume.
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: learning_rate_at(step, self.options.num_steps, options, self.options.batch_size) / peak,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Apply the options of this run: Lightning has restored those of the checkpoint."""
        options = self.options.optimizer
        peak = peak_learning_rate(options, self.options.batch_size)
        now = learning_rate_at(self.global_step, self.options.num_steps, options, self.options.batch_size)
        optimizer, schedule = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, torch.optim.Optimizer) and isinstance(schedule, torch.optim.lr_scheduler.LambdaLR)
        schedule.base_lrs = [group["lr"] for group in self.parameter_groups()]
        applied = {"weight_decay": options.weight_decay, "betas": (options.beta1, options.beta2)}
        for group, highest in zip(optimizer.param_groups, schedule.base_lrs, strict=True):
            group |= {**applied, "lr": highest * (now / peak), "initial_lr": highest}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the settings of the run.

        Raises:
            TrainingError: a loss since the last check, or a weight, is NaN or infinite; nothing is saved then.
        """
        self.check_losses()
        if not all(bool(tensor.isfinite().all()) for tensor in self.parameters() if tensor.requires_grad):
            raise TrainingError(f"step {self.global_step} made weights that are not finite. {_ADVICE}")
        checkpoint[OURS] = {"settings": self.settings}
