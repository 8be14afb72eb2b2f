"""Files of the original <-> model folders."""

import io
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dvt.backbone.pruning import Pruning
from dvt.backbone.vit import facts_of, make_reader
from dvt.denoiser.config import Kind
from dvt.denoiser.network import Denoiser
from dvt.errors import BackboneError, ConfigError, WeightsError
from dvt.files import write_atomic
from dvt.paths import expand_home
from dvt.weights.build import build_denoiser
from dvt.weights.folder import save_model
from dvt.weights.info import KINDS, ModelInfo
from dvt.weights.recognise import Weights, recognise
from dvt.weights.resolve import resolve

ORIGINAL_SUFFIX = ".pth"
"""Suffix of the original's files."""


def convert(source: str | Path, out: str | Path, *, backbone: str | None = None) -> list[str]:
    """Write weights in the other layout: the original's `.pth`, or a model folder. No value changes.

    Args:
        source: whatever `load_denoiser` takes, a distilled ViT, or a folder with both, which stays a folder.
        out: a name that ends in `.pth`, or a folder; it must not exist.
        backbone: the ViT that the weights belong to, where the source does not say.

    Returns:
        What the written file does not hold, one line each.

    Raises:
        WeightsError: the source cannot be found or read, or its backbone is another, or unknown.
        ConfigError: `out` exists, or its name has another ending.
        DiskError: the disk is full or refuses.
    """
    out = expand_home(out)
    _check_out(out)
    weights = recognise(resolve(source))
    info = _info(weights, backbone)
    denoiser = build_denoiser(weights, info) if weights.kind == "denoiser" else None
    if out.suffix == ORIGINAL_SUFFIX:
        if weights.kind == "denoised":
            raise WeightsError(
                f"{weights.source} holds {KINDS['denoised']}, and the original's format has no place for both: keep it"
                " as a model folder."
            )
        content = vit_to_original(weights.state) if denoiser is None else to_original(denoiser, weights.state)
        out.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_atomic(out, buffer.getvalue())
        return [*_left_out(weights), *_not_said(info)]
    if info is None:
        raise WeightsError(
            f"{weights.source} does not say which backbone it belongs to, and a model folder does: add"
            f" backbone=<name>, such as backbone=dinov2_base.{_guess(weights)}"
        )
    save_model(out, weights.state, info)
    return _left_out(weights)


def to_original(denoiser: Denoiser, state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The content of the original's file of this denoiser: `{"denoiser": state dict}`, on the CPU.

    Args:
        denoiser: what is written.
        state: its weights, in the number format in which they are written.

    Raises:
        WeightsError: it reads earlier blocks of the ViT, is linear, of semantic tokens, finer than the patches, of
            several groups of channels or a list of neurons, for which the original has no place.
    """
    config = denoiser.config
    faults = {
        "a linear layer": config.is_linear,
        "one of semantic tokens": config.kind is Kind.semantic_tokens,
        "a list of neurons": config.kind is Kind.registers,
        "finer than the patches": config.fine > 1,
        "of several groups of channels": config.groups > 1,
    }
    if what := next((fault for fault, holds in faults.items() if holds), None):
        raise WeightsError(
            f"this denoiser is {what}, and the original's format has no place for that: keep it as a model folder."
        )
    if config.layers:
        raise WeightsError(
            f"this denoiser reads the blocks {config.layers} of its ViT as well, and the original's format has"
            " no place for that: keep it as a model folder."
        )
    return {"denoiser": {key: state[key].detach().cpu().clone() for key in denoiser.state_dict()}}


def vit_to_original(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The content of the original's file of a distilled ViT: `{"model": state dict}` with the prefix `model.`.

    Raises:
        WeightsError: it drops patches, for which the original has no place.
    """
    if Pruning.of_state(state) is not None:
        raise WeightsError(
            "this ViT drops patches on its way, and the original's format has no place for that: keep it as a model"
            " folder."
        )
    return {"model": {f"model.{key}": tensor.detach().cpu().clone() for key, tensor in state.items()}}


def _info(weights: Weights, backbone: str | None) -> ModelInfo | None:
    """What the weights are; None where their ViT is unknown. A ViT without a description has to fit its architecture.

    Raises:
        WeightsError: they do not fit, or belong to another backbone than the given one.
    """
    known = weights.backbone
    name = backbone or known
    vit = facts_of(name) if name is not None else None
    if known is not None and vit is not None and vit.name != known:
        raise WeightsError(f"{weights.source} belongs to {known}, not to backbone={backbone}: leave backbone= out.")
    if weights.kind == "distilled" and weights.info is None and name is not None:
        make_reader(name).fill(weights.state, source=weights.source)
    return weights.info or (weights.info_for(vit) if vit is not None else None)


def _check_out(out: Path) -> None:
    if out.exists():
        raise ConfigError(f"{out} is there already: give another name, or delete it.")
    if out.suffix in (".pt", ".bin", ".ckpt", ".safetensors", ".tar", ".json"):
        raise ConfigError(
            f"{out} ends in {out.suffix}: give a name that ends in {ORIGINAL_SUFFIX} for the original's layout, or the"
            " name of a folder for ours."
        )


def _guess(weights: Weights) -> str:
    name = weights.path.stem
    try:
        return f" By its name: backbone={facts_of(name).name}?"
    except BackboneError:
        return ""


def _left_out(weights: Weights) -> list[str]:
    return [f"no part of the ViT, left out: {', '.join(weights.aside)}"] if weights.aside else []


def _not_said(info: ModelInfo | None) -> list[str]:
    """What a file of the original cannot say, where it differs from the original's defaults."""
    if info is None:
        return []
    spec = info.spec
    rows, columns = spec.grid.hw
    lines = [f"the file does not say that it belongs to {spec.backbone}: keep that in its name"]
    depth = facts_of(spec.backbone).depth
    if spec.layer % depth != depth - 1:
        lines.append(f"the file does not say that it was made for layer {spec.layer}; the original takes the last")
    if not spec.norm:
        lines.append("the file does not say that it was made without the final norm; the original applies it")
    if rows != columns:
        lines.append(f"the file does not say that its grid is {rows} x {columns}; the original takes it for square")
    if info.architecture.get("head_channels", 64) != 64:
        lines.append(f"the file does not say that its heads have {info.architecture['head_channels']} channels, not 64")
    return lines
