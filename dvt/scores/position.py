"""The share of variance that position explains."""

import torch
from torch import Tensor

from dvt.shapes import FeatureMaps


class PositionShare:
    """Share of the variance of feature maps that their mean map explains, over many images, in [0, 1].

    An image without artifact has none but for the layout that photographs share (sky above, ground below). Maps are
    added in any number of batches; sums are kept in float64, on their device.
    """

    def __init__(self) -> None:
        self._num_maps = 0
        self._sum: Tensor | None = None
        self._squares: Tensor | None = None

    def update(self, maps: FeatureMaps) -> None:
        """Add (B, H, W, C) feature maps; all of one shape."""
        kind = torch.float64 if maps.device.type != "mps" else torch.float32
        exact = maps.detach().to(kind)
        added, squares = exact.sum(dim=0), exact.square().sum()
        self._sum = added if self._sum is None else self._sum + added
        self._squares = squares if self._squares is None else self._squares + squares
        self._num_maps += len(maps)

    @property
    def value(self) -> float:
        """The share; of `n` maps that have nothing in common it is about 1 / n."""
        assert self._sum is not None and self._squares is not None, "at least one map was added"
        mean_map = self._sum / self._num_maps
        mean = mean_map.mean(dim=(0, 1))
        num_patches = mean_map.shape[0] * mean_map.shape[1]
        total = self._squares / (self._num_maps * num_patches) - mean.square().sum()
        explained = (mean_map - mean).square().sum() / num_patches
        return float(explained / total.clamp(min=torch.finfo(torch.float32).tiny))
