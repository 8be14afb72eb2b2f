"""The three terms of the equation as networks, and their sum (paper, s. 4.1 and eq. 5): raw ~ F + G + h."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dvt.decomposition.config import Encoding, HashGridConfig
from dvt.decomposition.neural_field import hash_grid_tcnn
from dvt.decomposition.neural_field.hash_grid import HashGrid
from dvt.decomposition.solution import Solution
from dvt.errors import ConfigError
from dvt.field import Field
from dvt.grid import PatchGrid
from dvt.shapes import FeatureMap, ImageXY, PatchIndex, Tokens


class SemanticField(nn.Module):
    """F, what is at a place of the image: hash grid, then Linear -> ReLU -> Linear.

    Args:
        num_channels: C of the features.
        config: the hash grid.
        encoding: its implementation.
        device: where the module will run; decides what `encoding=auto` means.
        seed: of the hash grid's table. The layers use PyTorch's global random state.

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
        self.base: Field | None = None
        """A fixed field that the network is added to."""

    def forward(self, image_xy: ImageXY) -> Tensor:
        """(..., 2) places, x then y in [0, 1], to (..., C) clean features."""
        features: Tensor = self.mlp(self.encoding(image_xy))
        return features if self.base is None else self.base.at(image_xy) + features

    @torch.no_grad()
    def begin_at(self, base: Field) -> None:
        """Initialise to `base`; the network starts at zero."""
        self.base = base
        last = self.mlp[-1]
        assert isinstance(last, nn.Linear)
        last.weight.zero_()
        last.bias.zero_()


def make_encoding(config: HashGridConfig, encoding: Encoding, device: torch.device, seed: int) -> nn.Module:
    """The hash grid in the chosen implementation; `auto` is tiny-cuda-nn where it can run."""
    match encoding:
        case Encoding.tcnn:
            if device.type != "cuda":
                raise ConfigError(f"encoding=tcnn needs a CUDA device, this is {device.type}: use encoding=torch.")
            return hash_grid_tcnn.TcnnHashGrid(config, seed)
        case Encoding.auto if device.type == "cuda" and hash_grid_tcnn.is_installed():
            return hash_grid_tcnn.TcnnHashGrid(config, seed)
        case _:
            return HashGrid(config, torch.Generator().manual_seed(seed))


class ArtifactMap(nn.Module):
    """G, what a patch position always adds: one vector per position, whatever the view shows.

    Args:
        grid: the patches of a view.
        num_channels: C of the features.
        std: standard deviation at the start.
    """

    def __init__(self, grid: PatchGrid, num_channels: int, std: float) -> None:
        super().__init__()
        self.hw = grid.hw
        self.vectors = nn.Parameter(torch.randn(grid.num_patches, num_channels) * std)

    def forward(self, patch_index: PatchIndex) -> Tensor:
        """(N,) row-major positions to (N, C) artifact vectors."""
        return self.vectors[patch_index]

    def as_map(self) -> FeatureMap:
        """(H, W, C) all vectors, each at its position."""
        return self.vectors.reshape(*self.hw, -1)


class ResidualPredictor(nn.Module):
    """h, what depends on content and position: three linear layers with ReLU on the raw token, C / 4 wide.

    Args:
        num_channels: C of the features.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        hidden = max(num_channels // 4, 1)
        self.mlp = nn.Sequential(
            nn.Linear(num_channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_channels),
        )

    def forward(self, raw: Tokens) -> Tensor:
        """(N, C) raw tokens to (N, C) residuals."""
        return self.mlp(raw)  # type: ignore[no-any-return]


class Terms(NamedTuple):
    """The three terms of a batch of tokens, (N, C) each."""

    clean: Tensor
    artifact: Tensor
    residual: Tensor


class NeuralDecomposition(nn.Module):
    """raw ~ clean + artifact + residual, for the tokens of the views of one image (paper, eq. 5 and 9-10).

    Args:
        field: F.
        artifact: G.
        residual: h.
    """

    def __init__(self, field: SemanticField, artifact: ArtifactMap, residual: ResidualPredictor) -> None:
        super().__init__()
        self.field = field
        self.artifact = artifact
        self.residual = residual

    @torch.no_grad()
    def begin_at(self, start: Solution) -> None:
        """Initialise F and G to a solution; F is its field plus a network that starts at zero."""
        self.field.begin_at(start.field)
        self.artifact.vectors.copy_(start.artifact.flatten(0, 1))

    def forward(self, raw: Tokens, image_xy: ImageXY, patch_index: PatchIndex) -> Terms:
        """The terms of N tokens.

        Args:
            raw: (N, C) features of the backbone.
            image_xy: (N, 2) places in the image that the tokens show.
            patch_index: (N,) positions of the tokens in the view.
        """
        return Terms(
            clean=self.field(image_xy),
            artifact=self.artifact(patch_index),
            residual=self.residual(raw),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class NeuralField(Field):
    """F of the gradient solver, after the fit."""

    network: SemanticField
    """The fitted network."""
    constant: Tensor
    """(C,) mean of G, which belongs to F."""

    def at(self, image_xy: ImageXY) -> Tensor:
        """(..., C) F at (..., 2) places, x then y in [0, 1]."""
        features: Tensor = self.network(image_xy.to(self.constant.device))
        return features + self.constant
