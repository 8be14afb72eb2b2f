"""Weights of a ViT of timm: from the hub, or from a file in any layout; every tensor has to fit."""

import contextlib
import io
import logging
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from timm.models import eva, vision_transformer
from torch import Tensor

from dvt.backbone.micro import MICRO, embedded_weights
from dvt.backbone.pruning import PRUNING, Pruning
from dvt.backbone.sources.timm_build import PlainVit, full_name
from dvt.backbone.sources.timm_pruned import add_pruning
from dvt.backbone.weights import LOCAL, VitNotFetchedError
from dvt.errors import WeightsError, first_line
from dvt.weights.hub import fetch_file
from dvt.weights.layouts import LAYOUTS
from dvt.weights.read import KeyReport, key_report, refuse_other_than_floats
from dvt.weights.vit_state import VitState, find_vit

_NOT_OURS = ("head.", "fc_norm.")
"""What timm's filters make of a projection behind the tokens; `build_vit` leaves it out."""
_FILES = ("model.safetensors", "pytorch_model.bin")

_TOKENS = {"register": ("reg_token", "register_tokens", "storage_tokens"), "distillation": ("dist_token",)}
"""Tokens that some ViTs have: timm's name, and those that its filters know."""

_log = logging.getLogger(__name__)


def fetch_weights(timm_name: str) -> Path:
    """The pretrained weights of a model of timm as a local file.

    Raises:
        VitNotFetchedError: timm names no repository for it, or the hub cannot be reached; with what to give instead.
    """
    if timm_name == MICRO:
        return embedded_weights()
    config = timm.get_pretrained_cfg(timm_name)
    if config is None or not config.hf_hub_id:
        address = f" (they may be at {config.url})" if config is not None and config.url else ""
        raise VitNotFetchedError(
            f"timm lists no weights of {timm_name} on the hub{address}.",
            f"Give a file with {LOCAL}, a name with a tag that has weights, or weights=random for an untrained model.",
        )
    files = (config.hf_hub_filename,) if config.hf_hub_filename else _FILES
    try:
        return fetch_file(config.hf_hub_id, files)
    except Exception as error:  # huggingface_hub raises errors of its HTTP library
        raise VitNotFetchedError(
            f"the weights of {timm_name} could not be fetched: file {files[0]} of {config.hf_hub_id} on the Hugging"
            f" Face hub ({first_line(error)}).",
            f"Check the connection and try again, or download the file elsewhere and give it with {LOCAL}.",
        ) from error


def fill(vit: PlainVit, state: Mapping[str, Tensor], *, source: str, level: int = logging.WARNING) -> None:
    """Copy the tensors of a file into a ViT.

    Key names of other programs are translated, and a position embedding of another grid is resampled (with a warning).
    Heads, decoders, poolings and text models in the file are laid aside, and named in the log. All else has to fit
    exactly. What a ViT that drops patches has for that is added to `vit`.

    Args:
        vit: the ViT.
        state: names and tensors of the file.
        source: the file, for errors and the log.
        level: of the log line that names what is laid aside.

    Raises:
        WeightsError: a key is missing, unexpected or of another shape; the file holds another architecture, or a
            denoiser as well.
        BackboneError: the file drops patches, which this ViT cannot.
    """
    if {"denoiser", "blocks"} <= {
        key.removeprefix("vit.").removeprefix("backbone.").partition(".")[0] for key in state
    }:
        raise WeightsError(
            f"{source} holds a ViT and the denoiser that was trained with it: load both with"
            " dvt.load_denoised(weights=<its folder>), or on the command line with distilled=<its folder>."
        )
    found = find_vit(state, source=source)
    if found is not None:
        state = found.state
        _refuse_other_tokens(vit, state, source)
    _refuse_lost_biases(vit, state, source)
    if (pruning := Pruning.of_state(state)) is not None:
        add_pruning(vit, pruning, name=full_name(vit))
    refuse_other_than_floats(state, vit.state_dict(), source=source)  # before a position embedding is resampled
    converted = {key: tensor for key, tensor in _translate(vit, state, source).items() if not key.startswith(_NOT_OURS)}
    refuse_other_than_floats(converted, vit.state_dict(), source=source)
    report = key_report(vit.state_dict(), converted)
    if not report.ok:
        raise WeightsError(_misfit(vit, found, state, report, source))
    vit.load_state_dict(converted)
    if found is not None and found.aside:
        _log.log(level, "%s: laid aside, as no part of the ViT: %s.", source, ", ".join(found.aside))
    before, after = state.get("pos_embed"), converted.get("pos_embed")
    # The filter may remove the prefix tokens from the embedding; a larger difference is another grid.
    if before is not None and after is not None and abs(before.shape[1] - after.shape[1]) > vit.num_prefix_tokens:
        _log.warning(
            "the position embedding of %s has %d entries, that of %s has %d: it was resampled.",
            source,
            before.shape[1],
            full_name(vit),
            after.shape[1],
        )


def _translate(vit: PlainVit, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    _check_patch_size(vit, state, source)
    pruning = {key: tensor for key, tensor in state.items() if key.startswith(f"{PRUNING}.")}
    state = {key: tensor for key, tensor in state.items() if key not in pruning}
    if {"register_tokens", "blocks.0.mlp.w12.weight"} & set(state) and not isinstance(vit, eva.Eva):
        state.setdefault("mask_token", torch.zeros(1))  # by which timm knows DINOv2's names
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # timm prints for each bias that DINOv3 leaves out
            converted: dict[str, Tensor] = (
                eva.checkpoint_filter_fn(state, vit)
                if isinstance(vit, eva.Eva)
                else vision_transformer.checkpoint_filter_fn(state, vit, adapt_layer_scale=True)
            )
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(
            f"timm cannot translate the keys of {source} for {full_name(vit)} ({error})."
            " Give weights of this very model."
        ) from error
    return converted | pruning


def _check_patch_size(vit: PlainVit, state: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights of another patch size, which timm's filter would resample."""
    wanted = tuple(vit.patch_embed.proj.weight.shape[-2:])
    for key, tensor in state.items():
        is_kernel = key.endswith(("patch_embed.proj.weight", "conv1.weight")) and tensor.ndim == 4
        if is_kernel and tuple(tensor.shape[-2:]) != wanted:
            raise WeightsError(
                f"{source} holds a ViT with patches of {tensor.shape[-2]} x {tensor.shape[-1]} px ({key}), but"
                f" {full_name(vit)} has patches of {wanted[0]} x {wanted[1]} px. Give weights of this very model."
            )


def _refuse_other_tokens(vit: PlainVit, state: Mapping[str, Tensor], source: str) -> None:
    """Refuse a file whose ViT has other tokens before its patches, on which timm's filter would stumble."""
    model = vit.state_dict()
    for kind, names in _TOKENS.items():
        held = next((state[name].shape[-2] for name in names if name in state and state[name].ndim > 1), 0)
        wanted = model[names[0]].shape[-2] if names[0] in model else 0
        if held != wanted:
            raise WeightsError(
                f"{source} holds a ViT with {held} {kind} tokens, {full_name(vit)} has {wanted}. Give weights of this"
                " very model, or the timm name of the model that they are of (with _reg4 in it for 4 register tokens,"
                " with _distilled for a distillation token)."
            )


def _refuse_lost_biases(vit: PlainVit, state: Mapping[str, Tensor], source: str) -> None:
    """Refuse biases of query and value that timm's filter for DINOv3 leaves out, unless they are zero."""
    has_bias = any(key.endswith(("attn.qkv.bias", "attn.q_bias")) for key in vit.state_dict())
    for key, bias in state.items():
        if "storage_tokens" in state and key.endswith("attn.qkv.bias") and not has_bias:
            query, _, value = bias.chunk(3)
            if query.any() or value.any():
                raise WeightsError(
                    f"{source} has biases in its attention ({key}) and {full_name(vit)} has none: give the timm name"
                    " with _qkvb."
                )


def _misfit(vit: PlainVit, found: VitState | None, state: Mapping[str, Tensor], report: KeyReport, source: str) -> str:
    """The text of an error: what the file holds, what the model is, what to do, and the keys."""
    if found is None:
        return (
            f"{source} is in no layout of ViT weights that is known here (its keys: {_first(tuple(state))}). Known are"
            f" those of {'; '.join(layout.name for layout in LAYOUTS)}. Give the state dict of a ViT in one of them."
        )
    held, wanted = _size(state), _size(vit.state_dict())
    sizes = f" It holds {held}, the model has {wanted}." if held != wanted else ""
    hint = ""
    if "norm.weight" in report.missing and any(name.startswith("fc_norm") for name in found.aside):
        hint = " Its norm is behind the pooling (fc_norm), as after fine-tuning on classes: give the weights of before."
    return (
        f"{source} ({found.layout}) does not fit {full_name(vit)}.{sizes} Give weights of this very model, or the timm"
        f" name of the model that they are of.{hint}\n{report}"
    )


def _size(state: Mapping[str, Tensor]) -> str:
    blocks = {key.split(".")[1] for key in state if key.startswith("blocks.")}
    kernel = state.get("patch_embed.proj.weight")
    channels = "" if kernel is None else f" of {kernel.shape[0]} channels"
    return f"{len(blocks)} blocks{channels}"


def _first(keys: tuple[str, ...], limit: int = 4) -> str:
    return ", ".join(keys[:limit]) + (", ..." if len(keys) > limit else "")
