"""How far feature maps are from those to learn, over the images of a validation."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dvt.diagnosis.position import PositionShare
from dvt.shapes import FeatureMaps

MIN_FOR_SHARE = 16
"""Of fewer images chance alone gives position a share of the variance: 1 / n of n unrelated maps, all of one."""


class Comparison:
    """Distances of raw and of learnt feature maps to a target, and what share of each kind the position explains."""

    def __init__(self, learnt: str, target: str):
        """Begin to count.

        Args:
            learnt: name of the maps that come out of the training.
            target: name of the maps to learn.
        """
        self._learnt, self._target = learnt, target
        self._distances: list[Tensor] = []
        self._shares = {name: PositionShare() for name in ("raw", target, learnt)}

    def update(self, maps: Mapping[str, FeatureMaps]) -> None:
        """Add a batch: (B, H, W, C) maps under the names `raw`, `learnt` and `target`."""
        for name, share in self._shares.items():
            share.update(maps[name])
        for one in zip(maps["raw"], maps[self._learnt], maps[self._target], strict=True):
            self._distances.append(torch.stack(_distances(*one)))

    def means(self) -> dict[str, Tensor | float]:
        """Means over all images: `raw_mse`, `raw_cosine`, `mse`, `cosine`; of 16 or more `<name>_position_share`."""
        names = ("raw_mse", "raw_cosine", "mse", "cosine")
        means = torch.stack(self._distances).mean(dim=0)
        if len(self._distances) < MIN_FOR_SHARE:
            return dict(zip(names, means, strict=True))
        shares = {f"{name}_position_share": share.value for name, share in self._shares.items()}
        return {**dict(zip(names, means, strict=True)), **shares}


def _distances(raw: Tensor, learnt: Tensor, target: Tensor) -> list[Tensor]:
    """Mean squared error and mean cosine similarity of (H, W, C) maps to the target: of raw, then of learnt."""
    numbers = []
    for one in (raw, learnt):
        numbers += [(one - target).square().mean(), torch.cosine_similarity(one, target, dim=-1).mean()]
    return numbers
