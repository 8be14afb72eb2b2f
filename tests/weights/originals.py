"""Weights in the original's layouts, made by hand of random numbers, and its forward pass in plain torch."""

import itertools
import math

import torch
from torch import nn
from torch.nn import functional


def block_shapes(channels, hidden):
    """Names and shapes of the tensors of one transformer block."""
    return {
        "norm1.weight": (channels,),
        "norm1.bias": (channels,),
        "attn.qkv.weight": (3 * channels, channels),
        "attn.qkv.bias": (3 * channels,),
        "attn.proj.weight": (channels, channels),
        "attn.proj.bias": (channels,),
        "norm2.weight": (channels,),
        "norm2.bias": (channels,),
        "mlp.fc1.weight": (hidden, channels),
        "mlp.fc1.bias": (hidden,),
        "mlp.fc2.weight": (channels, hidden),
        "mlp.fc2.bias": (channels,),
    }


def random_state(shapes, seed=0):
    """Small random values; norms near one."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: 0.05 * torch.randn(shape, generator=generator) + (1.0 if "norm" in key and key.endswith("weight") else 0.0)
        for key, shape in shapes.items()
    }


def block_state(channels=64, positions=16, blocks=1, seed=0):
    """The `denoiser` entry of a file with transformer blocks; `positions=0` is without position embedding."""
    shapes = {"pos_embed": (1, positions, channels)} if positions else {}
    for index in range(blocks):
        prefix = "denoiser." if blocks == 1 else f"denoiser.{index}."
        shapes |= {f"{prefix}{key}": shape for key, shape in block_shapes(channels, 4 * channels).items()}
    return random_state(shapes, seed)


def convolution_state(channels=64, size=1, seed=0):
    """The `denoiser` entry of a legacy file with three convolutions."""
    widths = (channels, channels // 2, channels // 2, channels)
    shapes = {}
    for index, (before, after) in enumerate(itertools.pairwise(widths)):
        shapes[f"denoiser.{2 * index}.weight"] = (after, before, size, size)
        shapes[f"denoiser.{2 * index}.bias"] = (after,)
    return random_state(shapes, seed)


def run_blocks(state, tokens):
    """(B, N, C) raw tokens to clean ones: position embedding, then pre-norm attention and MLP with the exact GELU."""
    if "pos_embed" in state:
        tokens = tokens + state["pos_embed"]
    numbers = sorted({part for key in state for part in key.split(".") if part.isdigit()})
    for prefix in [f"denoiser.{number}." for number in numbers] or ["denoiser."]:
        tokens = _run_block({key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}, tokens)
    return tokens


def run_convolutions(state, patches):
    """(B, H, W, C) raw maps to clean ones."""
    maps = patches.permute(0, 3, 1, 2)
    for index in (0, 2, 4):
        weight = state[f"denoiser.{index}.weight"]
        maps = functional.conv2d(maps, weight, state[f"denoiser.{index}.bias"], padding=weight.shape[-1] // 2)
        maps = maps if index == 4 else nn.functional.relu(maps)
    return maps.permute(0, 2, 3, 1)


def _run_block(state, tokens):
    batch, count, channels = tokens.shape
    heads = channels // 64

    def norm(name, values):
        centred = values - values.mean(dim=-1, keepdim=True)
        spread = (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
        return centred / spread * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(name, values):
        return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    query, key, value = (
        part.view(batch, count, heads, 64).transpose(1, 2)
        for part in linear("attn.qkv", norm("norm1", tokens)).chunk(3, dim=-1)
    )
    attention = (query @ key.transpose(-1, -2) / math.sqrt(64)).softmax(dim=-1)
    tokens = tokens + linear("attn.proj", (attention @ value).transpose(1, 2).reshape(batch, count, channels))
    hidden = linear("mlp.fc1", norm("norm2", tokens))
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
    return tokens + linear("mlp.fc2", hidden)
