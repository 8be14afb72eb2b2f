"""The share of variance that position explains."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dvt.shapes import FeatureMap, FeatureMaps

_TINY = torch.finfo(torch.float32).tiny


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
        added, squares = exact.sum(dim=0), exact.square().sum(dim=(0, 3))
        self._sum = added if self._sum is None else self._sum + added
        self._squares = squares if self._squares is None else self._squares + squares
        self._num_maps += len(maps)

    @property
    def num_maps(self) -> int:
        """How many were added."""
        return self._num_maps

    @property
    def mean_map(self) -> FeatureMap:
        """(H, W, C) the mean of all maps."""
        assert self._sum is not None, "at least one map was added"
        return self._sum / self._num_maps

    @property
    def value(self) -> float:
        """The share; of `n` maps that have nothing in common it is about 1 / n."""
        return self.over(torch.ones_like(self.mean_map[..., 0], dtype=torch.bool))

    @property
    def map(self) -> Float[Tensor, "H W"]:
        """What position explains at each patch, in units of the mean variance of a token; its mean is `value`."""
        everywhere = torch.ones_like(self.mean_map[..., 0], dtype=torch.bool)
        mean_map = self.mean_map
        explained = (mean_map - mean_map.mean(dim=(0, 1))).square().sum(dim=-1)
        return explained / self.variance(everywhere)

    def over(self, patches: Bool[Tensor, "H W"]) -> float:
        """The share, of these patches alone.

        Args:
            patches: at least one is true.
        """
        mean_map = self.mean_map[patches]
        explained = (mean_map - mean_map.mean(dim=0)).square().sum(dim=-1).mean()
        return float(explained / self.variance(patches))

    def variance(self, patches: Bool[Tensor, "H W"]) -> Float[Tensor, ""]:
        """Mean squared distance of the tokens of these patches from their common mean; above zero."""
        assert self._squares is not None, "at least one map was added"
        mean = self.mean_map[patches].mean(dim=0)
        variance = self._squares[patches].mean() / self._num_maps - mean.square().sum()
        return variance.clamp(min=_TINY)
