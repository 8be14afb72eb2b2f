"""StageModule: the optimisation of a network, and nothing else."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from dvt.errors import TrainingError
from dvt.shapes import FeatureMaps
from dvt.training.config import TrainingConfig
from dvt.training.schedule import learning_rate_at, peak_learning_rate
from dvt.weights.checkpoint import OURS

_ADVICE = (
    "Look at these images' features, or lower optimizer.base_learning_rate, give optimizer.clip_norm=1, or"
    " trainer.precision=32-true; with resume=auto the run goes on from its last checkpoint, if it has one."
)
_LOOK_EVERY = 16
"""Steps whose losses are looked at together on an accelerator: each look waits for the device."""


class Frozen:
    """Holds a network that is used and not trained: it is neither saved, nor copied, nor moved with its holder."""

    def __init__(self, network: Any):
        self.network = network

    def __deepcopy__(self, memo: dict[int, Any]) -> "Frozen":
        return self


class StageModule(L.LightningModule):
    """AdamW, warm-up and cosine on what of `network` asks for gradients; a loss that is not finite ends it.

    A stage derives from it and says what the loss of a batch is, and what is measured in a validation.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig, settings: dict[str, Any]):
        """Set up a training.

        Args:
            network: what is trained.
            config: how.
            settings: what the run does, as plain JSON; kept in the checkpoints.
        """
        super().__init__()
        self.network = network
        self.options = config
        self.settings = settings
        self._unseen: list[tuple[int, Sequence[str], Tensor]] = []

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """The loss of a batch; `batch["key"]` names its images."""
        raise NotImplementedError

    def maps(self, batch: dict[str, Any]) -> dict[str, FeatureMaps]:
        """The feature maps of a batch of validation images by name, `raw` first: what pictures show."""
        raise NotImplementedError

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """One step: the loss, looked at before it can reach the weights (on a CPU) or a checkpoint (elsewhere)."""
        loss = self.loss(batch)
        self._unseen.append((self.global_step, batch["key"], loss.detach()))
        if self.device.type == "cpu" or len(self._unseen) >= _LOOK_EVERY:
            self.check_losses()
        self.log("train/loss", loss.detach())
        return loss

    def check_losses(self) -> None:
        """Look at the losses since the last look.

        Raises:
            TrainingError: one is NaN or infinite; with its step and its images.
        """
        seen, self._unseen = self._unseen, []
        if not seen or bool(torch.stack([loss for _, _, loss in seen]).isfinite().all()):
            return
        step, keys, loss = next(each for each in seen if not bool(each[2].isfinite()))
        raise TrainingError(
            f"the loss of step {step} is {loss.item()}. Its images: {', '.join(map(str, keys))}.\n"
            f"No checkpoint was written since. {_ADVICE}"
        )

    def configure_optimizers(self) -> Any:
        """AdamW over everything that asks for gradients, and the learning rate of every step."""
        options = self.options.optimizer
        peak = peak_learning_rate(options, self.options.batch_size)
        optimizer = torch.optim.AdamW(
            [parameter for parameter in self.network.parameters() if parameter.requires_grad],
            lr=peak,
            betas=(options.beta1, options.beta2),
            weight_decay=options.weight_decay,
        )

        def factor(step: int) -> float:
            return learning_rate_at(step, self.options.num_steps, options, self.options.batch_size) / peak

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Put the options in force: those of a resumed optimizer are the checkpoint's."""
        options = self.options.optimizer
        peak = peak_learning_rate(options, self.options.batch_size)
        now = learning_rate_at(self.global_step, self.options.num_steps, options, self.options.batch_size)
        optimizer, schedule = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, torch.optim.Optimizer) and isinstance(schedule, torch.optim.lr_scheduler.LambdaLR)
        forced = {"lr": peak * (now / peak), "initial_lr": peak, "weight_decay": options.weight_decay}
        for group in optimizer.param_groups:
            group |= {**forced, "betas": (options.beta1, options.beta2)}
        schedule.base_lrs = [peak] * len(optimizer.param_groups)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write down what the run does; nothing of a bad step is saved.

        Raises:
            TrainingError: a loss since the last look, or a weight, is NaN or infinite.
        """
        self.check_losses()
        if not all(bool(tensor.isfinite().all()) for tensor in self.network.parameters() if tensor.requires_grad):
            raise TrainingError(f"step {self.global_step} made weights that are not finite. {_ADVICE}")
        checkpoint[OURS] = {"settings": self.settings}
