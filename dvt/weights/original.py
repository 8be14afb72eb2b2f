"""The original's files. Our denoiser has their key names, so that nothing is translated either way.

Names and shapes say all of the architecture but the number of heads.
"""

import io
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dvt.denoiser.config import DenoiserConfig, Kind
from dvt.denoiser.network import Denoiser
from dvt.errors import ConfigError, WeightsError
from dvt.files import write_atomic
from dvt.weights.read_file import load_strict

_BLOCK = re.compile(r"denoiser\.(\d+)\.norm1\.weight")
_CONVOLUTIONS = {1: Kind.conv1x1, 3: Kind.conv3x3}


def is_denoiser(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is that of a denoiser."""
    return any(key.startswith("denoiser.") for key in state)


def is_vit(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is that of a whole ViT."""
    return any(key.startswith(("blocks.", "patch_embed.")) for key in state)


def own_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict without the name of the attribute that a training step kept the denoiser in."""
    if any(key.startswith("denoiser.denoiser.") for key in state) and all(key.startswith("denoiser.") for key in state):
        return {key.removeprefix("denoiser."): tensor for key, tensor in state.items()}
    return state


def build(
    state: Mapping[str, Tensor],
    *,
    source: str,
    architecture: Mapping[str, Any] | None = None,
    grid_hw: tuple[int, int] | None = None,
) -> Denoiser:
    """A denoiser of tensors without a description; in evaluation mode, on the CPU.

    Args:
        state: the tensors, with the original's names.
        source: where they come from, for errors.
        architecture: fields of `DenoiserConfig` that the tensors do not show; where left out, those of the original
            (heads of 64 channels).
        grid_hw: rows and columns of the position embedding; where left out, it is square, as the original's is.

    Raises:
        WeightsError: they are not those of a denoiser.
    """
    grid_hw = grid_hw or _square(state, source)
    try:
        config, num_channels = _architecture(state, dict(architecture or {}))
        with torch.random.fork_rng(devices=[]):  # what is drawn is overwritten
            denoiser = Denoiser(config, num_channels, grid_hw)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise WeightsError(
            f"{source} holds no denoiser that is known here ({error}). Expected the 13 tensors of the original"
            " (pos_embed, denoiser.norm1.weight and so on), those of several blocks, or of three convolutions."
        ) from error
    load_strict(denoiser, state, source=source)
    return denoiser.eval()


def to_original(denoiser: Denoiser, state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What the original's file of this denoiser holds: `{"denoiser": state dict}`, on the CPU.

    Args:
        denoiser: what is written.
        state: its weights, in the number format in which they are written.

    Raises:
        WeightsError: it reads earlier blocks of the ViT, for which the original has no place.
    """
    if denoiser.config.layers:
        raise WeightsError(
            f"this denoiser reads the blocks {denoiser.config.layers} of its ViT as well, and the original's format has"
            " no place for that: keep it as a model folder."
        )
    return {"denoiser": {key: state[key].detach().cpu().clone() for key in denoiser.state_dict()}}


def vit_to_original(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What the original's file of a distilled ViT holds: `{"model": state dict}` with the prefix `model.`."""
    return {"model": {f"model.{key}": tensor.detach().cpu().clone() for key, tensor in state.items()}}


def write_original(path: Path, content: dict[str, dict[str, Tensor]]) -> None:
    """Write a file that the original's code reads.

    Raises:
        DiskError: the disk is full or refuses.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


def _architecture(state: Mapping[str, Tensor], given: dict[str, Any]) -> tuple[DenoiserConfig, int]:
    """The architecture that names and shapes show, and C."""
    kind = Kind(given.pop("kind", Kind.block))
    first = state.get("denoiser.0.weight")
    if first is not None:
        size = first.shape[-1] if first.ndim == 4 else 0
        if size not in _CONVOLUTIONS:
            raise ConfigError(f"denoiser.0.weight has the shape {tuple(first.shape)}, no 1 x 1 or 3 x 3 convolution")
        return DenoiserConfig(**{**given, "kind": _CONVOLUTIONS[size]}), first.shape[1]
    numbers = [int(found[1]) for key in state if (found := _BLOCK.fullmatch(key))]
    prefix = "denoiser.0." if numbers else "denoiser."
    num_channels = state[f"{prefix}norm1.weight"].shape[0]
    shown = {
        "kind": kind,
        "num_blocks": len(numbers) or 1,
        "position_embedding": "pos_embed" in state,
        "mlp_ratio": state[f"{prefix}mlp.fc1.weight"].shape[0] / num_channels,
    }
    return DenoiserConfig(**{**given, **shown}), num_channels


def _square(state: Mapping[str, Tensor], source: str) -> tuple[int, int]:
    """The square grid of a position embedding; one patch where there is none, for nothing depends on it then.

    Raises:
        WeightsError: it is not square.
    """
    if "pos_embed" not in state:
        return 1, 1
    count = state["pos_embed"].shape[1]
    side = math.isqrt(count)
    if side * side != count:
        raise WeightsError(
            f"the position embedding of {source} has {count} entries, which is no square grid, and the file does not"
            " say how many rows it has. Give a model folder (its config.json holds the grid)."
        )
    return side, side
