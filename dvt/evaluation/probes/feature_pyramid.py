"""Simple feature pyramid of ViTDet: maps of several strides from the one map of a ViT (Li et al. 2022)."""

from typing import Final

from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

from dvt.errors import ConfigError

SCALES: Final = (4.0, 2.0, 1.0, 0.5)
"""Cells per patch along each side, of every level."""
COARSEST: Final = "4"
"""Name of the level that is made of the last one by leaving out every second cell; proposals alone use it."""


class SimpleFeaturePyramid(nn.Module):
    """A map of patches to maps of 4, 2, 1 and 1/2 cells per patch along each side, and one of 1/4.

    Deconvolutions enlarge, max pooling reduces; then a 1 x 1 and a 3 x 3 convolution, each with a LayerNorm over the
    channels. Inputs are standardised by channel, which ViTDet does not do: features of ViTs and methods differ in
    scale by an order of magnitude, and the result of a short training depends on it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor, num_channels: int, fine: int = 1):
        """Build for the features of a method.

        Args:
            mean: (C,) of the training features.
            std: (C,) of the training features.
            num_channels: channels of every level.
            fine: cells per patch along each side that the method gives.

        Raises:
            ConfigError: a number of cells that is no power of two.
        """
        super().__init__()
        check_cells(fine)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.out_channels = num_channels
        self.levels = nn.ModuleList(_level(len(mean), num_channels, scale / fine) for scale in SCALES)

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """(B, H, W, C) features to (B, channels, rows, columns) by level: "0" is the finest."""
        inputs = ((maps - self.mean) / self.std).permute(0, 3, 1, 2)
        found = {str(number): level(inputs) for number, level in enumerate(self.levels)}
        *_, last = found.values()
        return {**found, COARSEST: functional.max_pool2d(last, kernel_size=1, stride=2)}


def check_cells(fine: int) -> None:
    """Refuse features that the pyramid cannot take.

    Args:
        fine: cells per patch along each side.

    Raises:
        ConfigError: a number that is no power of two.
    """
    if fine & (fine - 1):
        raise ConfigError(
            f"features of {fine} x {fine} cells a patch do not fit the pyramid, which halves and doubles. Give 1, 2 or"
            " 4 cells: decomposed@fine2."
        )


def _level(num_inputs: int, num_channels: int, factor: float) -> nn.Sequential:
    """Resize a map `factor` times, a power of two, and project it."""
    layers: list[nn.Module] = []
    channels = num_inputs
    while factor > 1:
        if layers:
            layers += [LayerNorm2d(channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, max(1, channels // 2), 2, stride=2))
        channels, factor = max(1, channels // 2), factor / 2
    if factor < 1:
        layers.append(nn.MaxPool2d(round(1 / factor)))
    layers += [nn.Conv2d(channels, num_channels, 1, bias=False), LayerNorm2d(num_channels)]
    layers += [nn.Conv2d(num_channels, num_channels, 3, padding=1, bias=False), LayerNorm2d(num_channels)]
    return nn.Sequential(*layers)
