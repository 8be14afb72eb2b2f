"""ViTs of timm: the plain ones, at any size and stride, with or without dropping patches on the way."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from timm.data.config import resolve_model_data_config
from timm.layers.format import Format
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from dvt.backbone.catalogue import CATALOGUE, licence_of, lookup
from dvt.backbone.pruning import PRUNING, Pruning
from dvt.backbone.reader import TokenReader, Tokens, VitFacts
from dvt.backbone.sources.timm_build import PlainVit, build_vit, full_name
from dvt.backbone.sources.timm_pruned import add_pruning, pruned_tokens
from dvt.backbone.sources.timm_rotary import FixedRotary
from dvt.backbone.sources.timm_stride import set_stride
from dvt.backbone.sources.timm_weights import fetch_weights, fill
from dvt.grid import PatchGrid
from dvt.shapes import ImageBatch
from dvt.weights.read import read_state_dict


class TimmReader(TokenReader):
    """A plain ViT of timm."""

    network: PlainVit

    def __init__(self, vit: PlainVit):
        """Read a ViT that `build_vit` made; it is changed by `set_stride` and `fix`."""
        self.network = vit
        self.facts = timm_facts(vit)
        self.norm = None if isinstance(vit.norm, nn.Identity) else vit.norm

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks in order."""
        return list(self.network.blocks)

    def tokens(self, images: ImageBatch, layers: Sequence[int], grid: PatchGrid) -> list[Tokens]:
        """The tokens of blocks, before the final norm."""
        if hasattr(self.network, PRUNING):
            return pruned_tokens(self.network, images, layers, self.facts.num_prefix_tokens)
        taken: Any = self.network.forward_intermediates(
            images,
            indices=list(layers),
            norm=False,  # it would apply to all layers
            stop_early=True,
            output_fmt="NLC",  # timm's image layout counts patches without the stride
            intermediates_only=True,
            return_prefix_tokens=self.facts.num_prefix_tokens > 0,  # Eva fails where there are none to return
        )
        return [Tokens(*each) if self.facts.num_prefix_tokens else Tokens(each, each[:, :0]) for each in taken]

    def set_stride(self, stride: int) -> None:
        """Set the pixels between neighbouring patches."""
        set_stride(self.network, stride)

    def set_grad_checkpointing(self, enable: bool) -> None:
        """Compute activations again in the backward pass instead of keeping them."""
        self.network.set_grad_checkpointing(enable)

    def drop_patches(self, pruning: Pruning) -> None:
        """Make the ViT drop patches on its way."""
        add_pruning(self.network, pruning, name=self.facts.name)

    @contextmanager
    def entering(self, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Change the tokens that enter the first block, in forward passes within this context."""
        # Not at the block: timm's checkpointing calls it again in the backward pass, outside of this context.
        handle = self.network.norm_pre.register_forward_hook(lambda module, given, tokens: change(tokens))
        try:
            yield
        finally:
            handle.remove()

    def fetch(self) -> None:
        """Give the network its pretrained weights, of the hub."""
        path = fetch_weights(self.facts.name)
        source = f"{path.name} of {self.facts.name}"
        fill(self.network, read_state_dict(path), source=source, level=logging.INFO)

    def fill(self, state: Mapping[str, Tensor], *, source: str) -> None:
        """Give the network the weights of a file, in any layout that `dvt.weights.layouts` knows.

        The ViT of a file that drops patches on its way does so afterwards.
        """
        fill(self.network, state, source=source)

    @torch.no_grad()
    def fix(self, grid: PatchGrid, layer: int, norm: bool) -> None:
        """Drop what comes after the layer in use, and resample the position embeddings once, for images of one size."""
        vit: Any = self.network
        vit.blocks = vit.blocks[: layer + 1]
        if not norm:
            vit.norm = nn.Identity()
        embed = vit.patch_embed
        if vit.pos_embed is not None:
            resampled = resample_abs_pos_embed(
                vit.pos_embed,
                new_size=list(grid.hw),
                old_size=list(embed.grid_size),
                num_prefix_tokens=0 if vit.no_embed_class else vit.num_prefix_tokens,
            )
            vit.pos_embed = nn.Parameter(resampled.clone())
        if getattr(vit, "rope", None) is not None:
            vit.rope = FixedRotary(vit.rope, grid.hw)
        vit.dynamic_img_size = False
        embed.img_size, embed.grid_size, embed.num_patches = grid.image_hw, grid.hw, grid.num_patches
        embed.flatten, embed.output_fmt = True, Format.NCHW


def timm_reader(name: str) -> TimmReader:
    """The ViT of a catalogue name or of a name in timm, untrained.

    Raises:
        BackboneError: there is none, or it is no plain ViT.
    """
    return TimmReader(build_vit(lookup(name).timm))


def timm_facts(vit: PlainVit) -> VitFacts:
    """What a ViT of timm is."""
    name = full_name(vit)
    embed: Any = vit.patch_embed
    own: Any = vit.pretrained_cfg
    _, height, width = own["input_size"]
    size = next((each.image_size for each in CATALOGUE.values() if each.timm == name), None)
    colours: dict[str, Any] = resolve_model_data_config(vit)  # type: ignore[no-untyped-call]
    return VitFacts(
        name=name,
        depth=len(vit.blocks),
        num_channels=vit.embed_dim,
        num_prefix_tokens=vit.num_prefix_tokens,
        has_class_token=vit.cls_token is not None,
        has_norm=not isinstance(vit.norm, nn.Identity),
        patch=embed.patch_size[0],
        native_hw=(height, width),
        image_hw=(size, size) if size else (height, width),
        mean=tuple(colours["mean"]),
        std=tuple(colours["std"]),
        license=licence_of(name),
    )
