"""A method at windows of one size, which need not fit its patches."""

import torch
from torch import Tensor

from dvt.backbone.features import Features
from dvt.evaluation.patches import finite_features, fitting_hw, upsample_scores
from dvt.evaluation.probes.crops import pad_picture
from dvt.grid import PatchGrid
from dvt.methods.method import Method, Pictures
from dvt.shapes import FeatureMaps


class Windowed:
    """Windows are padded on all sides to what the patches need, and the pad is cut off again from what comes out.

    Attributes:
        side: of a padded window, in pixels: 518 for windows of 512 and patches of 14.
        num_channels: C.
    """

    def __init__(self, method: Method, size: int):
        """Look at windows.

        Args:
            method: makes the features.
            size: side of the largest window in pixels.

        Raises:
            GeometryError: the method takes no square of that size or a little more.
        """
        self._method = method
        self.side = fitting_hw(method, (size, size), larger=True)[0]
        self.num_channels = method.num_channels

    def __call__(self, windows: Pictures) -> Features:
        """Features of windows, none of them larger than `size`, without gradients."""
        padded = [pad_picture(window, self._beyond(*window.shape[1:])) for window in windows]
        with torch.no_grad():
            return finite_features(self._method, padded, (self.side, self.side))

    def at_pixels(self, maps: FeatureMaps, grid: PatchGrid, height: int, width: int) -> Tensor:
        """(B, H, W, K) values at patches to (B, K, height, width) at the pixels of windows of that size."""
        left, _, top, _ = self._beyond(height, width)
        return upsample_scores(maps, grid, (self.side, self.side))[:, :, top : top + height, left : left + width]

    def _beyond(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Left, right, top, bottom."""
        rows, columns = self.side - height, self.side - width
        return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2
