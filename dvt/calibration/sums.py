"""Mean and covariance of features, in all and by position."""

import torch
from torch import Tensor

from dvt.shapes import FeatureMaps, Float64


class PositionSums:
    """Sums over feature maps, in float64: 8 (P K + K^2) bytes for P positions and K channels.

    Examples:
        >>> sums = PositionSums(2, 1)
        >>> sums.add(torch.tensor([[[[1.0], [3.0]]], [[[3.0], [5.0]]]]))
        >>> sums.mean.tolist(), sums.mean_map.tolist(), sums.covariance.tolist()
        ([3.0], [[2.0], [4.0]], [[2.0]])
    """

    def __init__(self, num_positions: int, num_channels: int):
        """Start at nothing.

        Args:
            num_positions: P, rows times columns.
            num_channels: K.
        """
        self.count = 0
        self._map = torch.zeros(num_positions, num_channels, dtype=torch.float64)
        self._products = torch.zeros(num_channels, num_channels, dtype=torch.float64)
        self._of_images: list[Tensor] = []

    def add(self, maps: FeatureMaps) -> None:
        """Add the (B, H, W, K) maps of the windows of one image, at least two."""
        tokens = maps.detach().cpu().double().flatten(1, 2)
        if not self.count:  # sums of differences from a typical value lose no digits
            self._origin = tokens.mean(dim=(0, 1))
        tokens = tokens - self._origin
        self._map += tokens.sum(dim=0)
        flat = tokens.flatten(0, 1)
        self._products.addmm_(flat.T, flat)
        of_windows = tokens.mean(dim=1)
        self._of_images.append(torch.stack([of_windows.mean(dim=0), of_windows.var(dim=0) / len(of_windows)]))
        self.count += len(tokens)

    @property
    def mean(self) -> Float64[Tensor, " K"]:
        """The mean token."""
        return self._origin + self._centre

    @property
    def mean_map(self) -> Float64[Tensor, "P K"]:
        """The mean token of every position."""
        return self._origin + self._map / self.count

    @property
    def pattern(self) -> Float64[Tensor, "P K"]:
        """The mean map without its mean: what depends on the position, and the noise of so many windows."""
        return self._map / self.count - self._centre

    @property
    def covariance(self) -> Float64[Tensor, "K K"]:
        """The covariance of the tokens."""
        return self._products / (self.count * len(self._map)) - torch.outer(self._centre, self._centre)

    @property
    def image_share(self) -> float:
        """Share of the variance of a channel that lies between images, mean over the channels; of two or more images.

        Small where all images are alike. The means of images also differ because their windows do; that is taken off.
        """
        means, by_chance = torch.stack(self._of_images, dim=1)
        between = means.var(dim=0) - by_chance.mean(dim=0)
        return float((between / self.covariance.diagonal().clamp_min(torch.finfo(torch.float64).tiny)).mean())

    @property
    def _centre(self) -> Tensor:
        return self._map.mean(dim=0) / self.count
