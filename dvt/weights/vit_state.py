"""The ViT in a file of weights, whoever wrote it: found by its patch embedding, whatever stands before that key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dvt.errors import WeightsError
from dvt.weights.layouts import LAYOUTS, Layout

_WRAPPERS = re.compile(r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.")
"""What torch.compile, FSDP and Lightning put into names, at any place."""
_AVERAGED = re.compile(r"(?:^|_)(?:teacher|ema|target|averaged)(?:_|$)")
_LEARNING = re.compile(r"(?:^|_)(?:student|online|momentum|k|gram)(?:_|$)")
"""Names of the ViT that is taken of two, and of the one that is not. Those with `momentum` and `k` are of MoCo, whose
authors take the other one; `gram_teacher` is an earlier teacher of DINOv3."""
_ASIDE = re.compile(
    r"(?:^|_)(?:\w*heads?|\w*classifiers?|dec|decod(?:e|er|ers|ing)|neck|fc|project(?:ors?|ions?)|pred|predictors?"
    r"|prototypes?|linear|criterion|\w*loss|pool|pooler|text|language|modal|logits?|queue|metrics?|center|discriminator"
    r"|acc|accuracy|temperature|aux|auxiliary|scratch|postprocess\d*)(?:_|\d*$)"
)
"""Names of modules beside a ViT or behind its tokens: heads, decoders, poolings, losses, text models."""
_CONSTANTS = (
    "n_averaged", "num_updates", "steps", "step", "initted", "num_batches_tracked", "masked_embed", "position_ids",
    "inv_freq",
)  # fmt: skip
"""Names of counters, of constants, and of a token that only a training reads."""
_PLAIN = "Give a plain ViT (DINO, DeiT, CLIP, DINOv2, MAE, ...)."
_FOREIGN = {
    "lora_": "LoRA adapters beside the weights that they change. Merge them first (merge_and_unload of peft).",
    "relative_position_bias": f"a BEiT or Swin, another architecture (relative positions in its attention). {_PLAIN}",
    ".lambda_1": f"a BEiT or Data2Vec, another architecture (relative positions in its attention). {_PLAIN}",
    "rel_pos_h": f"a SAM or ViTDet, another architecture (relative positions in its attention). {_PLAIN}",
}


@dataclass(frozen=True, slots=True, eq=False)
class VitState:
    """The ViT in a file."""

    layout: str
    """Name of the layout."""
    state: dict[str, Tensor]
    """Its tensors, with names that timm's filters take. A key that the layout does not have is there as it was."""
    aside: tuple[str, ...]
    """What the file holds beside it and is known to be no part of it: modules, with their number of tensors."""


def find_vit(state: Mapping[str, Tensor], *, source: str) -> VitState | None:
    """Find the ViT in a state dict, and name its tensors as timm's filters take them; no value changes.

    Of two ViTs the teacher or running mean is taken. Blocks in chunks (`blocks.0.3.norm1.weight`) become one list;
    query, key and value one matrix.

    Args:
        state: names and tensors of a file.
        source: where they come from, for the error.

    Returns:
        The ViT; None where no layout with these names is known.

    Raises:
        WeightsError: another architecture, adapters that were not merged, two ViTs of which neither is preferred,
            blocks that are no list, or unknown tensors beside the ViT.

    Examples:
        >>> import torch
        >>> state = {
        ...     "teacher.backbone.patch_embed.proj.weight": torch.ones(8, 3, 4, 4),
        ...     "teacher.backbone.blocks.0.0.norm1.weight": torch.ones(8),
        ...     "teacher.dino_head.last_layer.weight": torch.ones(9, 8),
        ... }
        >>> vit = find_vit(state, source="a.pth")
        >>> list(vit.state), vit.aside
        (['patch_embed.proj.weight', 'blocks.0.norm1.weight'], ('teacher.dino_head (1 tensor)',))
    """
    state = _unwrapped(state)
    places = _places(state)
    if not places:
        _refuse_foreign(state, source)
        return None
    prefix = _chosen(list(places), source)
    layout = places[prefix]
    inside: dict[str, Tensor] = {}
    aside: dict[str, int] = {}
    unknown: list[str] = []
    for key, tensor in state.items():
        if key.rpartition(".")[2] in _CONSTANTS:
            continue
        owner = max((place for place in places if key.startswith(place)), key=len, default=None)
        module = _module(key, prefix)
        name = module.rpartition(".")[2]
        if owner not in (prefix, None) or _is_aside(name) or (owner is None and name in layout.beside):
            aside[module] = aside.get(module, 0) + 1
        elif owner is None:
            unknown.append(key)
        else:
            inside[key.removeprefix(prefix)] = tensor
    _refuse_foreign(inside, source)
    if unknown:
        more = f", ... ({len(unknown)} in all)" if len(unknown) > 4 else ""
        raise WeightsError(
            f"{source} ({layout.name}) holds tensors beside its ViT that are no head or decoder known here:"
            f" {', '.join(unknown[:4])}{more}. Save the tensors below {prefix.rstrip('.')!r} by themselves."
        )
    return VitState(
        layout=layout.name,
        state=layout.translate(inside, source),
        aside=tuple(f"{name} ({count} tensor{'s' * (count > 1)})" for name, count in aside.items()),
    )


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    short = {_WRAPPERS.sub("", key): tensor for key, tensor in state.items()}
    return short if len(short) == len(state) else dict(state)


def _places(state: Mapping[str, Tensor]) -> dict[str, Layout]:
    """What stands before the names of each ViT, and its layout."""
    found = {}
    for layout in LAYOUTS:
        for key in state:
            if key != layout.anchor and not key.endswith(f".{layout.anchor}"):
                continue
            prefix = key.removesuffix(layout.anchor)
            if not layout.needs or any(other.startswith(prefix + layout.needs) for other in state):
                found[prefix] = layout
    return found


def _chosen(prefixes: list[str], source: str) -> str:
    """The ViT that is taken.

    Raises:
        WeightsError: there are several, and the names do not say which.
    """

    def rank(prefix: str) -> int:
        names = prefix.split(".")
        if any(_ASIDE.search(name) or _LEARNING.search(name) for name in names):
            return 3
        if "teacher" in names:
            return 0
        return 1 if any(_AVERAGED.search(name) for name in names) else 2

    best = min(map(rank, prefixes))
    equal = [prefix for prefix in prefixes if rank(prefix) == best]
    if len(equal) > 1:
        names = ", ".join(prefix.rstrip(".") or "(nothing)" for prefix in equal)
        raise WeightsError(
            f"{source} holds {len(equal)} ViTs, below {names}, and their names do not say which is the teacher or the"
            " running mean: save the state dict of the one that you mean by itself."
        )
    return equal[0]


def _module(key: str, prefix: str) -> str:
    """The module of a key: its name as far as it differs from where the ViT is, such as `teacher.dino_head`."""
    names, where = key.split("."), prefix.rstrip(".").split(".") if prefix else []
    shared = next((index for index, name in enumerate(where) if names[index : index + 1] != [name]), len(where))
    return ".".join(names[: shared + 1])


def _is_aside(name: str) -> bool:
    return any(pattern.search(name) for pattern in (_ASIDE, _AVERAGED, _LEARNING))


def _refuse_foreign(state: Mapping[str, Tensor], source: str) -> None:
    """Refuse what is no plain ViT, with the reason."""
    for mark, what in _FOREIGN.items():
        key = next((key for key in state if mark in f".{key}"), None)
        if key is not None:
            raise WeightsError(f"{source} holds {what} One of its keys: {key}.")
