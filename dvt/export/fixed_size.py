"""FixedSize: a backbone at one image size, as a plain module that exporters can follow."""

import copy

import torch
from torch import Tensor, nn

from dvt.backbone.backbone import Backbone
from dvt.backbone.reader import TokenReader
from dvt.denoiser.denoised import DenoisedBackbone, reader_for
from dvt.denoiser.network import Denoiser
from dvt.errors import ConfigError, GeometryError
from dvt.grid import PatchGrid
from dvt.runtime import Precision
from dvt.shapes import FeatureMaps, ImageBatch, PrefixTokens


class FixedSize(nn.Module):
    """A ViT, its normalisation and its denoiser at one image size: `(patches, prefix) = fixed(images)`.

    It computes what the backbone computes at that size. Blocks after the layer in use are removed, and for ViTs of timm
    position embeddings are resampled once. Only the batch size is free.

    Names of the tensors in its state: `mean` and `std`, those of the ViT under `vit.`, the denoiser's under
    `denoiser.`.

    Attributes:
        grid: the patches of an image.
        num_prefix_tokens: P, class and register tokens.
        raw: whether it gives the features in front of the denoiser as well.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        reader: TokenReader,
        layers: tuple[int, ...],
        norm: bool,
        grid: PatchGrid,
        denoiser: Denoiser | None,
        raw: bool,
    ):
        """Join what `fixed_size` has prepared.

        Args:
            reader: the ViT, already at the size.
            layers: indices of the blocks whose outputs are taken.
            norm: whether the final norm is applied to them.
            grid: the patches of an image.
            denoiser: the denoiser, already at the size, or None.
            raw: whether to give the features in front of the denoiser as well.
        """
        super().__init__()
        self.grid, self.num_prefix_tokens, self.raw = grid, reader.facts.num_prefix_tokens, raw
        self.register_buffer("mean", torch.tensor(reader.facts.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(reader.facts.std).view(3, 1, 1))
        self._reader, self._layers, self._norm = reader, layers, norm
        self.vit, self.denoiser = reader.network, denoiser
        self.requires_grad_(False).eval()

    def forward(
        self, images: ImageBatch
    ) -> tuple[FeatureMaps, PrefixTokens] | tuple[FeatureMaps, PrefixTokens, FeatureMaps]:
        """The features of a batch of images.

        Args:
            images: (B, 3, y, x) RGB in [0, 1], not normalised, float32, of the size of `grid`.

        Returns:
            Patches (B, H, W, C), the cells of a denoiser that is finer; prefix tokens (B, P, C) where P may be 0; with
            `raw`, the patches in front of the denoiser; float32.

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
        normalised = (images - self.mean) / self.std
        wanted = sorted({*earlier, *self._layers})
        taken = dict(zip(wanted, self._reader.tokens(normalised, wanted, self.grid), strict=True))
        norm = self._reader.norm if self._norm and self._reader.norm is not None else nn.Identity()
        patches = [norm(taken[layer].patches) for layer in self._layers]
        prefix = torch.cat([norm(taken[layer].prefix) for layer in self._layers], dim=-1)
        own = self._map(torch.cat(patches, dim=-1))
        if self.denoiser is None:
            return own, prefix
        before = [self._map(taken[layer].patches) for layer in earlier]
        clean = self.denoiser(torch.cat((own, *before), dim=-1))
        return (clean, prefix, own) if self.raw else (clean, prefix)

    def _map(self, tokens: Tensor) -> Tensor:
        """(B, H * W, C) as (B, H, W, C)."""
        return tokens.reshape(tokens.shape[0], *self.grid.hw, tokens.shape[2])


def fixed_size(
    model: Backbone | DenoisedBackbone, image_hw: tuple[int, int] | None = None, raw: bool = False
) -> FixedSize:
    """A backbone at one image size; the backbone itself is left as it is.

    Args:
        model: the backbone, raw, denoised or distilled, in float32.
        image_hw: height and width of the images; None: the default size of the model.
        raw: whether to give the features in front of the denoiser as well.

    Returns:
        A module of its own on the CPU.

    Raises:
        GeometryError: the size does not fit patch and stride.
        ConfigError: the backbone was loaded in half precision, or `raw` without raw features in front of a denoiser,
            also where it is of the kind `registers`.
    """
    if model.precision is not Precision.fp32:
        raise ConfigError(
            f"{model.name} was loaded with precision={model.precision}; what is exported computes in float32. Load it"
            " with precision=fp32 (what runs the file can convert it)."
        )
    if raw and not (isinstance(model, DenoisedBackbone) and not model.has_own_vit):
        why = "its ViT was trained together with its denoiser" if isinstance(model, DenoisedBackbone) else "no denoiser"
        raise ConfigError(
            f"raw=true exports the features in front of a denoiser as well, and {model.full_name} has none that are raw"
            f" ({why}). Leave raw out, or give the denoiser of a frozen ViT."
        )
    if raw and isinstance(model, DenoisedBackbone) and model.denoiser.neurons is not None:
        raise ConfigError(
            f"raw=true and the registers of {model.full_name}: they change the forward pass, in which there are no raw"
            " features. Leave raw out, and export the ViT alone as well."
        )
    backbone = model.backbone if isinstance(model, DenoisedBackbone) else model
    grid = backbone.grid if image_hw is None else backbone.grid_for(image_hw)
    reader = copy.deepcopy(backbone.reader)
    reader.network.cpu()
    reader.fix(grid, backbone.layer, backbone.norm)
    denoiser = None
    if isinstance(model, DenoisedBackbone):
        denoiser = copy.deepcopy(model.denoiser).cpu()
        denoiser.set_grid(grid.hw)
        reader = reader_for(denoiser, reader)
    return FixedSize(reader, backbone.layers, backbone.norm, grid, denoiser, raw)
