"""Layouts of ViT weights: the key names of one program each, and how they become names that timm's filters take.

timm's own filters do the rest: DINOv2's registers and SwiGLU, DeiT-III, DINOv3, EVA, and OpenAI's names of CLIP.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from dvt.errors import WeightsError

Translate: TypeAlias = Callable[[Mapping[str, Tensor], str], dict[str, Tensor]]
"""The tensors of a ViT by its layout's names, and their source for the error -> the same by timm's names."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to name the tensors of a ViT."""

    name: str
    """For errors."""
    anchor: str
    """Key of the kernel of the patch embedding."""
    translate: Translate
    """Names that are not known stay as they are."""
    needs: str = ""
    """Beginning of a further key; without it the anchor belongs to something else."""
    beside: tuple[str, ...] = ()
    """Modules that stand beside the ViT in files of this layout."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A layout that timm does not know, as a table of names: of modules, or of single parameters."""

    outside: Mapping[str, str]
    """Outside the blocks: their name -> timm's."""
    block: re.Pattern[str]
    """A key in a block: the block's number, and the name in the block."""
    inside: Mapping[str, str]
    """The names in a block."""
    joined: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    """Modules in a block that timm has as one, whose matrices stand one below the other."""
    gated: Mapping[str, str] = field(default_factory=dict)
    """Names in a block that has the first of them, in place of `inside`."""

    def __call__(self, state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
        """The tensors by timm's names; `pos_embed` and `cls_token` with timm's dimensions."""
        parts = {name: (names, whole) for names, whole in self.joined.items() for name in names}
        gated = next(iter(self.gated), None)
        is_gated = gated is not None and any(f".{gated}." in key for key in state)
        inside = {**self.inside, **self.gated} if is_gated else self.inside
        out: dict[str, Tensor] = {}
        for key, tensor in state.items():
            found = self.block.fullmatch(key)
            if found is None:
                name = _renamed(key, self.outside)
                out[_free(name, key, out)] = _as_timm_has_it(name, tensor)
                continue
            number, inner = found.groups()
            module, _, kind = inner.rpartition(".")
            if module in parts:
                names, whole = parts[module]
                stem = key.removesuffix(inner)
                out |= _whole(f"blocks.{number}.{whole}.{kind}", [f"{stem}{name}.{kind}" for name in names], state)
            else:
                name = _renamed(inner, inside)
                out[_free(None if name is None else f"blocks.{number}.{name}", key, out)] = tensor
        return out


def join_chunks(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Blocks that a training kept in chunks, `blocks.<chunk>.<block>.`, as one list; all else as it is.

    DINOv2 counts its blocks through all chunks, others begin at 0 in each.

    Raises:
        WeightsError: the numbers are no list of blocks.
    """
    found = {key: match for key in state if (match := _CHUNKED.fullmatch(key))}
    if not found:
        return dict(state)
    places = sorted({(int(match[1]), int(match[2])) for match in found.values()})
    counted_through = len({block for _, block in places}) == len(places)
    order = {place: place[1] if counted_through else number for number, place in enumerate(places)}
    first = {chunk: min(block for other, block in places if other == chunk) for chunk, _ in places}
    is_list = sorted(order.values()) == list(range(len(order))) and sorted(first) == list(range(len(first)))
    is_list &= all((chunk, block - 1) in order for chunk, block in places if block > first[chunk])
    is_list &= counted_through or not any(first.values())
    if not is_list or any(re.match(r"blocks\.\d+\.\D", key) for key in state):
        shown = ", ".join(f"blocks.{chunk}.{block}" for chunk, block in places[:6])
        raise WeightsError(
            f"{source} has its blocks in chunks whose numbers are no list of blocks ({shown}, ...): parts are missing."
            " Save the whole state dict."
        )
    return {
        f"blocks.{order[int(found[key][1]), int(found[key][2])]}.{found[key][3]}" if key in found else key: tensor
        for key, tensor in state.items()
    }


def _of_openai(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Names as in CLIP's own files, where timm expects the ViT below `visual.`."""
    return {f"visual.{key}": tensor for key, tensor in state.items()}


def _renamed(key: str, names: Mapping[str, str]) -> str | None:
    """The key with timm's name of its module or of itself; None where neither is in the table."""
    if key in names:
        return names[key]
    module, dot, kind = key.rpartition(".")
    return f"{names[module]}{dot}{kind}" if module in names else None


def _free(name: str | None, key: str, taken: Mapping[str, Tensor]) -> str:
    """The name of timm; the file's own where there is none, or two keys of the file would get it."""
    return key if name is None or name in taken else name


def _as_timm_has_it(name: str | None, tensor: Tensor) -> Tensor:
    """A position embedding (N, C) as (1, N, C), a class token (C) as (1, 1, C)."""
    dimensions = {"pos_embed": 3, "cls_token": 3}.get(name or "", tensor.ndim)
    return tensor[(None,) * (dimensions - tensor.ndim)] if tensor.ndim < dimensions else tensor


def _whole(name: str, keys: list[str], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices one below the other; as they were, where one is missing. The key of an attention may lack its bias."""
    tensors = [state.get(key) for key in keys]
    present = [tensor for tensor in tensors if tensor is not None]
    if name.endswith(".attn.qkv.bias") and tensors[0] is not None and tensors[1] is None:
        tensors[1] = torch.zeros_like(tensors[0])
    complete = [tensor for tensor in tensors if tensor is not None]
    if len(complete) < len(keys) or len({tensor.dtype for tensor in present}) > 1:
        return {key: state[key] for key in keys if key in state}
    return {name: torch.cat(complete)}


_CHUNKED = re.compile(r"blocks\.(\d+)\.(\d+)\.(.+)")


def _transformers(outside: Mapping[str, str], *, is_packed: bool = True) -> _Table:
    """Layouts of Hugging Face's transformers, of versions 4 and 5.

    Args:
        outside: names outside the blocks.
        is_packed: whether timm has a gate and the matrix beside it as one.
    """
    gate, up, down = "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"
    return _Table(
        outside=outside,
        block=re.compile(r"(?:encoder\.|model\.)?layers?\.(\d+)\.(.+)"),
        inside={
            "layernorm_before": "norm1",
            "norm1": "norm1",
            "layer_norm1": "norm1",
            "attention.output.dense": "attn.proj",
            "attention.o_proj": "attn.proj",
            "self_attn.out_proj": "attn.proj",
            "layer_scale1.lambda1": "ls1.gamma",
            "layernorm_after": "norm2",
            "norm2": "norm2",
            "layer_norm2": "norm2",
            "intermediate.dense": "mlp.fc1",
            "mlp.fc1": "mlp.fc1",
            up: "mlp.fc1",
            "mlp.weights_in": "mlp.fc1",
            "output.dense": "mlp.fc2",
            "mlp.fc2": "mlp.fc2",
            down: "mlp.fc2",
            "mlp.weights_out": "mlp.fc2",
            "layer_scale2.lambda1": "ls2.gamma",
        },
        joined={
            ("attention.attention.query", "attention.attention.key", "attention.attention.value"): "attn.qkv",
            ("attention.q_proj", "attention.k_proj", "attention.v_proj"): "attn.qkv",
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"): "attn.qkv",
            **({(gate, up): "mlp.fc1"} if is_packed else {}),
        },
        gated={} if is_packed else {gate: "mlp.w1", up: "mlp.w2", down: "mlp.w3"},
    )


_VIT = _transformers(
    {
        "embeddings.cls_token": "cls_token",
        "embeddings.distillation_token": "dist_token",
        "embeddings.mask_token": "mask_token",
        "embeddings.register_tokens": "register_tokens",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection": "patch_embed.proj",
        "layernorm": "norm",
    }
)
_DINOV3 = _transformers(
    {
        "embeddings.cls_token": "cls_token",
        "embeddings.mask_token": "mask_token",
        "embeddings.register_tokens": "storage_tokens",
        "embeddings.patch_embeddings": "patch_embed.proj",
        "norm": "norm",
        "layernorm": "norm",
    },
    is_packed=False,
)
_CLIP = _transformers(
    {
        "embeddings.class_embedding": "cls_token",
        "embeddings.position_embedding.weight": "pos_embed",
        "embeddings.patch_embedding": "patch_embed.proj",
        "pre_layrnorm": "norm_pre",
        "pre_layernorm": "norm_pre",
        "post_layernorm": "norm",
    }
)
_TORCHVISION = _Table(
    outside={
        "class_token": "cls_token",
        "encoder.pos_embedding": "pos_embed",
        "conv_proj": "patch_embed.proj",
        "encoder.ln": "norm",
    },
    block=re.compile(r"encoder\.layers\.encoder_layer_(\d+)\.(.+)"),
    inside={
        "ln_1": "norm1",
        "self_attention.in_proj_weight": "attn.qkv.weight",
        "self_attention.in_proj_bias": "attn.qkv.bias",
        "self_attention.out_proj": "attn.proj",
        "ln_2": "norm2",
        "mlp.0": "mlp.fc1",
        "mlp.linear_1": "mlp.fc1",
        "mlp.3": "mlp.fc2",
        "mlp.linear_2": "mlp.fc2",
    },
)
_OPENMMLAB = _Table(
    outside={
        "cls_token": "cls_token",
        "pos_embed": "pos_embed",
        "patch_embed.projection": "patch_embed.proj",
        "pre_norm": "norm_pre",
        "ln1": "norm",
        "norm1": "norm",
    },
    block=re.compile(r"layers\.(\d+)\.(.+)"),
    inside={
        "ln1": "norm1",
        "norm1": "norm1",
        "attn.qkv": "attn.qkv",
        "attn.attn.in_proj_weight": "attn.qkv.weight",
        "attn.attn.in_proj_bias": "attn.qkv.bias",
        "attn.proj": "attn.proj",
        "attn.attn.out_proj": "attn.proj",
        "ln2": "norm2",
        "norm2": "norm2",
        "ffn.layers.0.0": "mlp.fc1",
        "ffn.layers.1": "mlp.fc2",
    },
)
_TEXT_OF_CLIP = (
    "transformer", "token_embedding", "positional_embedding", "ln_final", "input_resolution", "context_length",
    "vocab_size",
)  # fmt: skip

LAYOUTS = (
    Layout("timm or the model's authors", "patch_embed.proj.weight", join_chunks),
    Layout("transformers: ViT, DeiT, DINOv2", "embeddings.patch_embeddings.projection.weight", _VIT),
    Layout("transformers: DINOv3", "embeddings.patch_embeddings.weight", _DINOV3),
    Layout("transformers: CLIP, SigLIP", "embeddings.patch_embedding.weight", _CLIP),
    Layout("OpenAI's CLIP", "conv1.weight", _of_openai, "transformer.resblocks.0.", _TEXT_OF_CLIP),
    Layout("torchvision", "conv_proj.weight", _TORCHVISION, "encoder.layers.encoder_layer_0."),
    Layout("OpenMMLab", "patch_embed.projection.weight", _OPENMMLAB, "layers.0."),
)
"""Every layout that is known."""
