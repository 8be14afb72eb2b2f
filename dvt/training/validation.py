"""Validation: distances of feature maps from their targets, and panels of some images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from dvt.diagnosis.position import PositionShare
from dvt.shapes import FeatureMaps
from dvt.training.loggers import log_image
from dvt.training.module import StageModule
from dvt.viz import draw_panel, sample_rows, save_png

MIN_FOR_SHARE = 16
"""Fewer images give no position share: position explains 1 / n of the variance of n unrelated maps by chance."""
_NUM_SHOWN = 4


class Comparison:
    """Distances of raw and of learned feature maps from a target, and the share of each kind that position explains."""

    def __init__(self, learned: str, target: str):
        """Start a count.

        Args:
            learned: name of the maps that the trained network gives.
            target: name of the maps to learn.
        """
        self._learned, self._target = learned, target
        self._distances: list[Tensor] = []
        self._shares = {name: PositionShare() for name in ("raw", target, learned)}

    def update(self, maps: Mapping[str, FeatureMaps]) -> None:
        """Add a batch: (B, H, W, C) maps by name: `raw`, and those of `learned` and `target`."""
        for name, share in self._shares.items():
            share.update(maps[name])
        for raw, learned, target in zip(maps["raw"], maps[self._learned], maps[self._target], strict=True):
            numbers = []
            for each in (raw, learned):
                numbers += [(each - target).square().mean(), torch.cosine_similarity(each, target, dim=-1).mean()]
            self._distances.append(torch.stack(numbers))

    def means(self) -> dict[str, Tensor | float]:
        """Means over images: `raw_mse`, `raw_cosine`, `mse`, `cosine`; of 16 or more also `<name>_position_share`."""
        names = ("raw_mse", "raw_cosine", "mse", "cosine")
        means: dict[str, Tensor | float] = dict(zip(names, torch.stack(self._distances).mean(dim=0), strict=True))
        if len(self._distances) >= MIN_FOR_SHARE:
            means |= {f"{name}_position_share": share.value for name, share in self._shares.items()}
        return means


class ShowSamples(L.Callback):
    """Draws some validation images after validations: `<out>/panels/step-<n>.png`, and in the logger."""

    def __init__(self, val: Dataset[dict[str, Any]], num_val: int, folder: Path, every: int):
        """Choose the images.

        Args:
            val: the validation images.
            num_val: their number.
            folder: folder of the panels.
            every: least number of steps between panels.
        """
        count = min(_NUM_SHOWN, num_val)
        self._val, self._folder, self._every = val, folder, every
        self._numbers: Sequence[int] = [number * num_val // count for number in range(count)]
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
