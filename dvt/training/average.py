"""The moving average of the weights, and what is published of it."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging

from dvt.training.module import StageModule


class PublishedAverage(EMAWeightAveraging):
    """Lightning's exponential moving average, which is also published where a resumed run has no step left.

    Lightning puts the average in place when the last step ends. A run that is resumed after its last step has none.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Bring the average to where the weights are: it was made before they were moved."""
        super().on_train_start(trainer, pl_module)
        assert self._average_model is not None, "the trainer has set it up"
        self._average_model.to(pl_module.device)

    def publish(self, module: StageModule) -> None:
        """Give the module the averaged weights; nothing changes where it has them already."""
        assert self._average_model is not None, "the trainer has set it up"
        average: Any = self._average_model.module
        with torch.no_grad():
            state = average.state_dict()
            for name, current in module.state_dict(keep_vars=False).items():
                current.copy_(state[name])
