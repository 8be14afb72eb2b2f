"""Denoiser: raw features -> clean features, for every image (paper s. 4.3)."""

from functools import partial
from itertools import pairwise
from typing import Any

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from dvt.denoiser.config import DenoiserConfig, Kind
from dvt.denoiser.pretrained import Pretrained
from dvt.errors import ConfigError
from dvt.shapes import DenoiserInput, FeatureMaps


class Denoiser(Pretrained):
    """A learnable position embedding and one transformer block; no residual around it, no norm after it.

    With `config.layers` the input holds the patches of earlier blocks of the ViT behind the raw ones: normed one by
    one, mixed linearly and added to the raw ones before the block. The mixing begins at zero, as the faithful denoiser.

    The names of its tensors are those of the released weights of the paper's authors: `pos_embed` and
    `denoiser.norm1.weight` and so on; with several blocks `denoiser.0.norm1.weight`, and the same for the layers of a
    convolutional one.

    Attributes:
        config: the architecture.
        num_channels: C.
        grid_hw: rows and columns of the patch grid that the position embedding belongs to.
        info: what it was trained on and for; None: untrained, or not known.
    """

    pos_embed: nn.Parameter | None

    def __init__(self, config: DenoiserConfig, num_channels: int, grid_hw: tuple[int, int]):
        """Build an untrained denoiser.

        Args:
            config: the architecture.
            num_channels: C of the features.
            grid_hw: rows and columns of patches that it is trained at; other grids resample the position embedding.

        Raises:
            ConfigError: C is no multiple of the channels of a head.
        """
        super().__init__()
        self.config, self.num_channels, self.grid_hw = config, num_channels, grid_hw
        self.info = None
        embeds = config.kind is Kind.block and config.position_embedding
        rows, columns = grid_hw
        self.mixing = _Mixing(len(config.layers), num_channels) if config.layers else None
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, rows * columns, num_channels)) if embeds else None
        self.denoiser = (
            _blocks(config, num_channels) if config.kind is Kind.block else _convolutions(config, num_channels)
        )

    def forward(self, patches: DenoiserInput) -> FeatureMaps:
        """Raw features to clean ones, on any grid.

        Args:
            patches: (B, H, W, C) raw features; with L `config.layers` (B, H, W, (1 + L) C), those of the earlier blocks
                behind the raw ones.

        Returns:
            (B, H, W, C)
        """
        if self.mixing is not None:
            patches = self.mixing(patches)
        if self.config.kind is not Kind.block:
            cleaned: Tensor = self.denoiser(patches.permute(0, 3, 1, 2))
            return cleaned.permute(0, 2, 3, 1)
        tokens = patches.flatten(1, 2)
        if self.pos_embed is not None:
            tokens = tokens + self._embedding_at((patches.shape[1], patches.shape[2]))
        cleaned = self.denoiser(tokens)
        return cleaned.reshape(patches.shape)

    def set_grid(self, grid_hw: tuple[int, int]) -> None:
        """Move to another patch grid for good: the position embedding is resampled once instead of at every call."""
        if self.pos_embed is not None:
            self.pos_embed = nn.Parameter(self._embedding_at(grid_hw).detach(), self.pos_embed.requires_grad)
        self.grid_hw = grid_hw

    def _embedding_at(self, grid_hw: tuple[int, int]) -> Tensor:
        """(1, H W, C) position embedding of a grid: bicubic, antialiased, as timm does for ViTs."""
        assert self.pos_embed is not None
        if grid_hw == self.grid_hw:
            return self.pos_embed
        resampled: Tensor = resample_abs_pos_embed(
            self.pos_embed, new_size=list(grid_hw), old_size=list(self.grid_hw), num_prefix_tokens=0
        )
        return resampled


class _Mixing(nn.Module):
    """Adds to raw features what a linear layer finds in those of earlier blocks."""

    def __init__(self, num_layers: int, num_channels: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(num_channels, eps=1e-6) for _ in range(num_layers))
        self.linear = nn.Linear(num_layers * num_channels, num_channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, patches: DenoiserInput) -> FeatureMaps:
        """(B, H, W, (1 + L) C) to (B, H, W, C)."""
        raw, *earlier = patches.chunk(1 + len(self.norms), dim=-1)
        normed = [norm(each) for norm, each in zip(self.norms, earlier, strict=True)]
        mixed: Tensor = raw + self.linear(torch.cat(normed, dim=-1))
        return mixed


def _blocks(config: DenoiserConfig, num_channels: int) -> nn.Module:
    num_heads, left_over = divmod(num_channels, config.head_channels)
    if left_over:
        raise ConfigError(
            f"denoiser.head_channels={config.head_channels} does not divide the {num_channels} channels of the"
            " features: give a divisor."
        )
    norm_layer: Any = partial(nn.LayerNorm, eps=1e-6)
    blocks = [
        Block(
            num_channels,
            num_heads,
            mlp_ratio=config.mlp_ratio,
            qkv_bias=True,
            norm_layer=norm_layer,
        )
        for _ in range(config.num_blocks)
    ]
    return blocks[0] if len(blocks) == 1 else nn.Sequential(*blocks)


def _convolutions(config: DenoiserConfig, num_channels: int) -> nn.Module:
    size = 1 if config.kind is Kind.conv1x1 else 3
    widths = (num_channels, num_channels // 2, num_channels // 2, num_channels)
    first, second, third = (nn.Conv2d(before, after, size, padding=size // 2) for before, after in pairwise(widths))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
