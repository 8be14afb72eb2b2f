"""FixedSize: a backbone at one image size, as a plain module that exporters can follow."""

import copy
from typing import Any

import torch
from timm.layers.format import Format
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from dvt.backbone.backbone import Backbone
from dvt.backbone.build import Vit
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.denoiser.network import Denoiser
from dvt.errors import ConfigError, GeometryError
from dvt.grid import PatchGrid
from dvt.runtime import Precision
from dvt.shapes import FeatureMaps, ImageBatch, PrefixTokens


class FixedRotary(nn.Module):
    """The rotary position embedding of one patch grid, computed once; replaces timm's.

    Its parameters keep their names, so that the names of the ViT's tensors do not change.
    """

    embedding: Tensor

    def __init__(self, rope: Any, grid_hw: tuple[int, int]):
        """Compute the embedding of a grid of `grid_hw` rows and columns with `rope`, a rotary embedding of timm."""
        super().__init__()
        for name, parameter in rope.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.register_buffer("embedding", rope.get_embed(shape=list(grid_hw)).detach(), persistent=False)

    def get_embed(self, shape: Any = None) -> Tensor:
        """The embedding; the shape that timm may pass is ignored."""
        return self.embedding


class FixedSize(nn.Module):
    """A ViT, its normalisation and its denoiser at one image size: `(patches, prefix) = fixed(images)`.

    It computes what the backbone computes at that size. Position embeddings are resampled once, and blocks and norm
    after the layer in use are removed. Only the batch size is free.

    Names of the tensors in its state: `mean` and `std`, timm's names under `vit.`, the denoiser's under `denoiser.`.

    Attributes:
        grid: the patches of an image.
        num_prefix_tokens: P, class and register tokens.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, vit: Vit, grid: PatchGrid, mean: Tensor, std: Tensor, denoiser: Denoiser | None):
        """Join what `fixed_size` has prepared.

        Args:
            vit: the ViT, already at the size.
            grid: the patches of an image.
            mean: (3, 1, 1), subtracted from the colours.
            std: (3, 1, 1), divides them afterwards.
            denoiser: the denoiser, already at the size, or None.
        """
        super().__init__()
        self.grid, self.num_prefix_tokens = grid, vit.num_prefix_tokens
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.vit, self.denoiser = vit, denoiser
        self.requires_grad_(False).eval()

    def forward(self, images: ImageBatch) -> tuple[FeatureMaps, PrefixTokens]:
        """The features of a batch of images.

        Args:
            images: (B, 3, y, x) RGB in [0, 1], not normalised, float32, of the size of `grid`.

        Returns:
            Patches (B, H, W, C), the cells of a denoiser that is finer, and prefix tokens (B, P, C) where P may be 0;
            float32.

        Raises:
            GeometryError: images of another size.
        """
        if tuple(images.shape[1:]) != (3, *self.grid.image_hw):
            height, width = self.grid.image_hw
            raise GeometryError(
                f"expected images of shape (B, 3, {height}, {width}), got {tuple(images.shape)}. This model is made for"
                " one size: resize the images, or export it at the size you need."
            )
        earlier = [] if self.denoiser is None else self.denoiser.config.layers
        tokens, seen = self._tokens((images - self.mean) / self.std, earlier)
        prefix, patches = tokens[:, : self.num_prefix_tokens], tokens[:, self.num_prefix_tokens :]
        joined: Any = torch.cat((patches, *seen), dim=-1)
        patches = joined.unflatten(1, self.grid.hw)
        return (patches if self.denoiser is None else self.denoiser(patches)), prefix

    def _tokens(self, normalised: Tensor, earlier: list[int]) -> tuple[Tensor, list[Tensor]]:
        """All tokens of the last block, and the patches of earlier ones."""
        vit: Any = self.vit
        if not earlier:
            return vit.forward_features(normalised), []
        last, taken = vit.forward_intermediates(normalised, indices=earlier, output_fmt="NLC")
        return last, list(taken)


def fixed_size(model: Backbone | DenoisedBackbone, image_hw: tuple[int, int] | None = None) -> FixedSize:
    """A backbone at one image size; the backbone itself is left as it is.

    Args:
        model: the backbone, raw, denoised or distilled, in float32.
        image_hw: height and width of the images; None: the default size of the model.

    Returns:
        A module of its own on the CPU.

    Raises:
        GeometryError: the size does not fit patch and stride.
        ConfigError: the backbone was loaded in half precision.
    """
    if model.precision is not Precision.fp32:
        raise ConfigError(
            f"{model.name} was loaded with precision={model.precision}; what is exported computes in float32. Load it"
            " with precision=fp32 (what runs the file can convert it)."
        )
    backbone = model.backbone if isinstance(model, DenoisedBackbone) else model
    grid = backbone.grid if image_hw is None else backbone.grid_for(image_hw)
    vit = copy.deepcopy(backbone.vit).cpu()
    _keep_what_is_read(vit, backbone.layer, backbone.norm)
    _fix_positions(vit, grid)
    denoiser = None
    if isinstance(model, DenoisedBackbone):
        denoiser = copy.deepcopy(model.denoiser).cpu()
        denoiser.set_grid(grid.hw)
    return FixedSize(vit, grid, backbone.mean.cpu().clone(), backbone.std.cpu().clone(), denoiser)


def _keep_what_is_read(vit: Any, layer: int, norm: bool) -> None:
    vit.blocks = vit.blocks[: layer + 1]
    if not norm:
        vit.norm = nn.Identity()


@torch.no_grad()
def _fix_positions(vit: Any, grid: PatchGrid) -> None:
    """Resample the position embeddings of a ViT that takes images of any size, and make it take images of one."""
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
