"""Hash grid by tiny-cuda-nn, an optional dependency. `hash_grid.py` is the equivalent in plain PyTorch."""

from importlib.util import find_spec

import torch
from torch import Tensor, nn

from dvt.decomposition.config import HashGridConfig
from dvt.errors import ConfigError
from dvt.shapes import ImageXY


def is_installed() -> bool:
    """Whether tiny-cuda-nn's PyTorch bindings are installed."""
    return find_spec("tinycudann") is not None


class TcnnHashGrid(nn.Module):
    """tiny-cuda-nn's `HashGrid` encoding in float32, with the interface of our `HashGrid`.

    Args:
        config: the pyramid.
        seed: seed of the initial table, uniform in +-1e-4.

    Raises:
        ConfigError: tiny-cuda-nn is not installed.
    """

    def __init__(self, config: HashGridConfig, seed: int) -> None:
        super().__init__()
        if not is_installed():
            raise ConfigError(
                "encoding=tcnn needs tiny-cuda-nn, which is not installed (see docs/tcnn.md)."
                " Use encoding=torch, which computes the same."
            )
        import tinycudann

        ratio = config.max_resolution / config.base_resolution
        self.encoding = tinycudann.Encoding(
            2,
            {
                "otype": "HashGrid",
                "n_levels": config.n_levels,
                "n_features_per_level": config.n_features_per_level,
                "log2_hashmap_size": config.log2_hashmap_size,
                "base_resolution": config.base_resolution,
                "per_level_scale": ratio ** (1 / max(config.n_levels - 1, 1)),
                "interpolation": "Linear",
            },
            seed=seed % 2**31,
            dtype=torch.float32,
        )

    @property
    def table(self) -> Tensor:
        """All entries of all levels as a flat tensor, in the order of `HashGrid.table`."""
        return self.encoding.params  # type: ignore[no-any-return]

    def forward(self, image_xy: ImageXY) -> Tensor:
        """(..., 2) positions in [0, 1] to (..., n_levels * n_features_per_level) features."""
        features = self.encoding(image_xy.reshape(-1, 2))
        return features.reshape(*image_xy.shape[:-1], -1)  # type: ignore[no-any-return]
