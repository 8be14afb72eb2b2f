"""Weights of a ViT: pretrained, from a file, or random; every tensor has to fit."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from dvt.backbone.reader import TokenReader
from dvt.errors import WeightsError
from dvt.weights.read import read_state_dict

RANDOM: Final = "random"
"""The `weights` of an untrained model."""
LOCAL: Final = "backbone.weights=<file> (weights=<file> in Python)"
"""How to give weights as a file, for errors."""


class VitNotFetchedError(WeightsError):
    """The pretrained weights of a ViT cannot be had from the hub.

    Args:
        reason: one or two sentences.
        advice: what to do.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason, advice)
        self.reason, self.advice = reason, advice

    def __str__(self) -> str:
        return f"{self.reason} {self.advice}"


def load_weights(reader: TokenReader, weights: str | Path | Mapping[str, Tensor] | None) -> str:
    """Fill a ViT with weights.

    Args:
        reader: the ViT, untrained, in float32.
        weights: None for the pretrained ones; `random` to leave it untrained; else a file, or tensors by name: of timm
            in a layout of `dvt.weights.layouts`, of another source by its own names.

    Returns:
        A hash of the tensors; the same for one set of weights, whatever file and format they come from.

    Raises:
        WeightsError: the weights cannot be downloaded or read, or do not fit (with a report of the keys).
    """
    if weights is None:
        reader.fetch()
    elif isinstance(weights, Mapping):
        reader.fill(weights, source=f"the given tensors for {reader.facts.name}")
    elif weights != RANDOM:
        reader.fill(read_state_dict(weights), source=str(weights))
    return state_hash(reader.network)


def state_hash(module: nn.Module) -> str:
    """The sha256, in hex, of names, types, shapes and values of all tensors in a module's state."""
    digest = hashlib.sha256()
    for key, tensor in sorted(module.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
