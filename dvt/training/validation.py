"""Validation: distances of feature maps from their targets."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dvt.diagnosis.position import PositionShare
from dvt.shapes import FeatureMaps

MIN_FOR_SHARE = 16
"""Fewer images give no position share: position explains 1 / n of the variance of n unrelated maps by chance."""


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
