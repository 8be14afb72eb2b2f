"""F, the clean term as a network: what is at this place of the image (paper, s. 4.1)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dvt.decomposition.config import Encoding, HashGridConfig
from dvt.decomposition.neural_field.hash_grid import HashGrid
from dvt.errors import ConfigError
from dvt.shapes import ImageXY


class SemanticField(nn.Module):
    """Hash grid, then Linear -> ReLU -> Linear, from a place in the image to a feature vector.

    Args:
        num_channels: C of the features.
        config: the hash grid.
        encoding: which implementation of it.
        device: where it will live; decides what `encoding=auto` means.
        seed: of the hash grid's table. The layers take PyTorch's global state.

    Raises:
        ConfigError: `encoding=tcnn` where tiny-cuda-nn cannot run.
    """

    def __init__(
        self, num_channels: int, config: HashGridConfig, encoding: Encoding, device: torch.device, seed: int
    ) -> None:
        super().__init__()
        self.encoding = make_encoding(config, encoding, device, seed)
        width = config.n_levels * config.n_features_per_level
        hidden = max(num_channels // 2, 1)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, num_channels))
        self.base: Callable[[Tensor], Tensor] | None = None
        """A field that stays as it is; the network is what is added to it."""

    def forward(self, image_xy: ImageXY) -> Tensor:
        """(..., 2) places, x then y in [0, 1], to (..., C) clean features."""
        features: Tensor = self.mlp(self.encoding(image_xy))
        return features if self.base is None else self.base(image_xy) + features

    @torch.no_grad()
    def begin_at(self, base: Callable[[Tensor], Tensor]) -> None:
        """Be this field, until the network has learnt something."""
        self.base = base
        last = self.mlp[-1]
        assert isinstance(last, nn.Linear)
        last.weight.zero_()
        last.bias.zero_()


def make_encoding(config: HashGridConfig, encoding: Encoding, device: torch.device, seed: int) -> nn.Module:
    """The hash grid in the implementation asked for; `auto` takes tiny-cuda-nn only where it can run."""
    from dvt.decomposition.neural_field import hash_grid_tcnn

    match encoding:
        case Encoding.tcnn:
            if device.type != "cuda":
                raise ConfigError(f"encoding=tcnn needs a CUDA device, this is {device.type}: use encoding=torch.")
            return hash_grid_tcnn.TcnnHashGrid(config, seed)
        case Encoding.auto if device.type == "cuda" and hash_grid_tcnn.is_installed():
            return hash_grid_tcnn.TcnnHashGrid(config, seed)
        case _:
            return HashGrid(config, torch.Generator().manual_seed(seed))
