"""The network of each kind of denoiser: what stands between the mixing of blocks and the finer cells."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from dvt.denoiser.config import DenoiserConfig, Kind
from dvt.denoiser.semantic_tokens import VisualTransformers
from dvt.errors import ConfigError


def make_network(config: DenoiserConfig, num_channels: int) -> nn.Module:
    """The network of a kind; with `groups` above 1 one for each group of channels.

    It maps (B, H W, C) patches in a row to the same where `config.in_a_row` says so, and (B, C, H, W) maps otherwise.

    Args:
        config: the architecture.
        num_channels: C.

    Raises:
        ConfigError: groups or heads do not divide the channels, or a kind without groups.
    """
    if config.groups == 1:
        return _NETWORKS[config.kind](config, num_channels)
    if config.is_linear or num_channels % config.groups:
        raise ConfigError(
            f"denoiser.groups={config.groups} with denoiser.kind={config.kind.value} and {num_channels} channels:"
            " give a divisor of the channels and another kind, or leave it out."
        )
    networks = [_NETWORKS[config.kind](config, num_channels // config.groups) for _ in range(config.groups)]
    return _Groups(networks, dim=-1 if config.in_a_row else 1)


class _Groups(nn.Module):
    """A network for each of several equal groups of channels; `dim` is that of the channels."""

    def __init__(self, networks: list[nn.Module], dim: int):
        super().__init__()
        self.groups, self.dim = nn.ModuleList(networks), dim

    def forward(self, features: Tensor) -> Tensor:
        """Apply each network to its channels."""
        parts = features.chunk(len(self.groups), dim=self.dim)
        return torch.cat([network(part) for network, part in zip(self.groups, parts, strict=True)], dim=self.dim)


def _blocks(config: DenoiserConfig, num_channels: int) -> nn.Module:
    num_heads, left_over = divmod(num_channels, config.head_channels)
    if left_over:
        raise ConfigError(
            f"denoiser.head_channels={config.head_channels} does not divide the {num_channels} channels of the"
            " features: give a divisor."
        )
    norm_layer: Any = partial(nn.LayerNorm, eps=1e-6)
    blocks = [
        Block(num_channels, num_heads, mlp_ratio=config.mlp_ratio, qkv_bias=True, norm_layer=norm_layer)
        for _ in range(config.num_blocks)
    ]
    return blocks[0] if len(blocks) == 1 else nn.Sequential(*blocks)


def _convolutions(config: DenoiserConfig, num_channels: int) -> nn.Module:
    size = 1 if config.kind is Kind.conv1x1 else 3
    widths = (num_channels, num_channels // 2, num_channels // 2, num_channels)
    first, second, third = (nn.Conv2d(before, after, size, padding=size // 2) for before, after in pairwise(widths))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)


def _semantic_tokens(config: DenoiserConfig, num_channels: int) -> nn.Module:
    return VisualTransformers(num_channels, config.num_tokens, config.num_blocks)


def _nothing(config: DenoiserConfig, num_channels: int) -> nn.Module:
    """A linear denoiser is its mixing, and registers are in the ViT."""
    return nn.Identity()


_NETWORKS: dict[Kind, Callable[[DenoiserConfig, int], nn.Module]] = {
    Kind.block: _blocks,
    Kind.conv1x1: _convolutions,
    Kind.conv3x3: _convolutions,
    Kind.semantic_tokens: _semantic_tokens,
    Kind.linear: _nothing,
    Kind.affine: _nothing,
    Kind.registers: _nothing,
}
