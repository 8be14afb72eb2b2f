"""Pictures of a training: the feature maps of some validation images, raw, learnt and to learn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from dvt.training.loggers import log_picture
from dvt.training.module import StageModule
from dvt.viz import draw_panel, sample_rows, save_png

_NUM_IMAGES = 4


class ShowSamples(L.Callback):
    """Draws after validations: a row per image, in `<out>/pictures/step-<n>.png` and in the logger."""

    def __init__(self, val: Dataset[dict[str, Any]], num_val: int, folder: Path, every: int):
        """Choose the images.

        Args:
            val: the validation images.
            num_val: how many there are.
            folder: where pictures go.
            every: steps between pictures at least.
        """
        count = min(_NUM_IMAGES, num_val)
        self._val, self._folder, self._every = val, folder, every
        self._numbers: Sequence[int] = [number * num_val // count for number in range(count)]
        self._shown_at = 0

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw if it is time, with the weights that were validated: an average is taken away again after this."""
        step = trainer.global_step
        if step - self._shown_at < self._every or not trainer.is_global_zero or trainer.state.fn != "fit":
            return
        self._shown_at = step
        assert isinstance(pl_module, StageModule)
        batch = default_collate([self._val[number] for number in self._numbers])
        with torch.no_grad():
            maps = pl_module.maps({name: _on(value, pl_module.device) for name, value in batch.items()})
        rows = [
            (key, {name: each[number].float().cpu() for name, each in maps.items()})
            for number, key in enumerate(batch["key"])
        ]
        panel = draw_panel(sample_rows(rows), title=f"step {step}")
        save_png(panel, self._folder / f"step-{step:08d}.png")
        log_picture(trainer.logger, "val/samples", np.asarray(panel.convert("RGB")), step)


def _on(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value
