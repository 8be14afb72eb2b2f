"""The forward pass of a ViT of timm that drops patches on its way: with masks in training, else without them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dvt.backbone.pruning import (
    PRUNING,
    Draws,
    Pruning,
    current_draws,
    draw_kept,
    masked_weights,
    note_stage,
    put_back,
    take,
)
from dvt.backbone.reader import Tokens
from dvt.errors import BackboneError

Decide = Callable[[Tensor, int], Tensor]
"""(B, N, 2) logarithms of probabilities and the number of the predictor -> (B, N), 1 for what is kept and else 0."""


def add_pruning(vit: nn.Module, pruning: Pruning, *, name: str) -> None:
    """Make a ViT of timm drop patches.

    Args:
        vit: the ViT; it is changed.
        pruning: which patches; it becomes a part of the ViT.
        name: of the ViT, for the error.

    Raises:
        BackboneError: its attention is not the plain one, which masks are written for.
    """
    plain = isinstance(vit, VisionTransformer) and all(
        type(block) is Block and type(block.attn) is Attention and getattr(block.attn, "gate", None) is None
        for block in vit.blocks
    )
    if not plain:
        raise BackboneError(
            f"{name} cannot drop patches: its attention is not that of a plain ViT of timm. Give one such as AugReg,"
            " DeiT, DINO, DINOv2, CLIP, SigLIP or MAE, or student.keep=1."
        )
    setattr(vit, PRUNING, pruning)


def pruned_tokens(vit: Any, images: Tensor, layers: Sequence[int], num_prefix: int) -> list[Tokens]:
    """The tokens of blocks, before the final norm; patches that were dropped by then have their last state.

    Args:
        vit: with a `pruning`.
        images: (B, 3, y, x), normalised.
        layers: numbers of blocks, counted from 0, ascending.
        num_prefix: P, tokens before the patches, which are never dropped.
    """
    tokens = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))
    if (draws := current_draws()) is not None:
        return masked_pass(vit, tokens, layers, num_prefix, _draw(draws), draws.shares)
    return removing_pass(vit, tokens, layers, num_prefix)


def removing_pass(vit: Any, tokens: Tensor, layers: Sequence[int], num_prefix: int) -> list[Tokens]:
    """The blocks, on fewer and fewer patches: exactly `Pruning.num_kept` of each image, those with the largest scores.

    Args:
        vit: with a `pruning`.
        tokens: (B, P + N, C), before the first block.
        layers: as for `pruned_tokens`.
        num_prefix: P.
    """
    pruning: Pruning = vit.pruning
    last, num_patches = tokens[:, num_prefix:], tokens.shape[1] - num_prefix
    numbers: Tensor | None = None
    found = []
    for number, block in enumerate(vit.blocks[: layers[-1] + 1]):
        if number in pruning.places:
            stage = pruning.places.index(number)
            prefix, patches = tokens[:, :num_prefix], tokens[:, num_prefix:]
            scores = pruning.predictors[str(number)](patches)[..., 1]
            best = scores.topk(pruning.num_kept(stage, num_patches), dim=1).indices.sort(dim=1).values
            last = patches if numbers is None else put_back(last, patches, numbers)
            numbers = best if numbers is None else numbers.gather(1, best)
            note_stage(scores.exp(), numbers)
            tokens = torch.cat([prefix, take(patches, best)], dim=1)
        tokens = _recomputed(vit, block, tokens)
        if number in layers:
            patches = tokens[:, num_prefix:]
            whole = patches if numbers is None else put_back(pruning.restore(last).to(patches), patches, numbers)
            found.append(Tokens(whole, tokens[:, :num_prefix]))
    return found


def masked_pass(
    vit: Any, tokens: Tensor, layers: Sequence[int], num_prefix: int, decide: Decide, shares: list[Tensor]
) -> list[Tokens]:
    """The same with masks: dropped patches keep their state, and only their own queries see them.

    With the choice of `removing_pass` it gives the same features. Gradients reach the predictors.

    Args:
        vit: with a `pruning`.
        tokens: (B, P + N, C), before the first block.
        layers: as for `pruned_tokens`.
        num_prefix: P.
        decide: the choice of each predictor.
        shares: (B,) share of the patches that is left after each predictor; they are added.
    """
    pruning: Pruning = vit.pruning
    left: Tensor | None = None
    found = []
    for number, block in enumerate(vit.blocks[: layers[-1] + 1]):
        if number in pruning.places:
            probabilities = pruning.predictors[str(number)](tokens[:, num_prefix:], left)
            chosen = decide(probabilities, len(shares))
            left = chosen if left is None else left * chosen
            shares.append(left.mean(dim=1))
        if left is None:
            tokens = _recomputed(vit, block, tokens)
        else:
            mask = nn.functional.pad(left, (num_prefix, 0), value=1.0)
            tokens = _recomputed(vit, lambda *given, block=block: _masked_block(block, *given), tokens, mask)
        if number in layers:
            patches = tokens[:, num_prefix:]
            whole = patches if left is None else _mixed(left, patches, pruning.restore(patches))
            found.append(Tokens(whole, tokens[:, :num_prefix]))
    return found


def _masked_block(block: Any, tokens: Tensor, mask: Tensor) -> Tensor:
    """A block that changes kept tokens only, and sees only them."""
    after = tokens + block.drop_path1(block.ls1(_masked_attention(block.attn, block.norm1(tokens), mask)))
    after = after + block.drop_path2(block.ls2(block.mlp(block.norm2(after))))
    return _mixed(mask, after, tokens)


def _masked_attention(attention: Any, tokens: Tensor, mask: Tensor) -> Tensor:
    batch, count, _ = tokens.shape
    query, key, value = attention.qkv(tokens).reshape(batch, count, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    logits = attention.q_norm(query) * attention.scale @ attention.k_norm(key).transpose(-2, -1)
    mixed = masked_weights(logits, mask).to(value.dtype) @ value
    output: Tensor = attention.proj(attention.norm(mixed.transpose(1, 2).reshape(batch, count, -1)))
    return output


def _mixed(kept: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """`one` where kept is 1 and `other` where it is 0; gradients reach all three."""
    share = kept[..., None].to(one.dtype)
    return share * one + (1 - share) * other.to(one.dtype)


def _recomputed(vit: Any, block: Callable[..., Any], *given: Tensor) -> Tensor:
    """A block, whose activations are computed again in the backward pass where the ViT is set to do so."""
    if vit.grad_checkpointing and torch.is_grad_enabled():
        again: Tensor = checkpoint(block, *given, use_reentrant=False)
        return again
    output: Tensor = block(*given)
    return output


def _draw(draws: Draws) -> Decide:
    return lambda probabilities, _: draw_kept(probabilities, draws.rng)
