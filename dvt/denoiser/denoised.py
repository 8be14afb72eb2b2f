"""DenoisedBackbone: a ViT and its denoiser as one backbone."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dvt.backbone.backbone import Backbone
from dvt.backbone.features import Features
from dvt.backbone.reader import TokenReader
from dvt.backbone.sources.timm_registers import RegisterReader
from dvt.backbone.weights import state_hash
from dvt.backbone.wrapped import WrappedBackbone
from dvt.denoiser.config import Kind
from dvt.denoiser.network import Denoiser
from dvt.errors import WeightsError
from dvt.grid import PatchGrid
from dvt.shapes import DenoiserInput, ImageBatch, PrefixTokens
from dvt.spec import FeatureSpec

_log = logging.getLogger(__name__)

_BACKBONE, _DENOISER = "backbone.", "denoiser."


def denoiser_input(
    backbone: Backbone, images: ImageBatch, layers: Sequence[int], reader: TokenReader | None = None
) -> tuple[DenoiserInput, PrefixTokens, PatchGrid]:
    """The input of a denoiser, from one forward pass of the ViT; with gradients, where they are on.

    Args:
        backbone: the ViT.
        images: (B, 3, y, x) RGB in [0, 1], not normalised.
        layers: earlier blocks whose features the denoiser takes, `denoiser.config.layers`.
        reader: how the ViT is read, `denoised.reader`; None: as the backbone does.

    Returns:
        (B, H, W, (1 + L) C) raw patches, with those of the L earlier blocks behind them; (B, P, C) prefix tokens; the
        grid.
    """
    *earlier, own = backbone.forward_layers(images, layers, reader=reader)
    patches = torch.cat([own.patches, *(each.patches for each in earlier)], dim=-1)
    return patches, own.prefix, own.grid


class DenoisedBackbone(WrappedBackbone):
    """`denoised(images) -> Features`, with clean patches; class and register tokens are those of the ViT.

    It replaces a `Backbone` wherever features are computed. Its ViT is `backbone`. Frozen; stays in evaluation mode.
    A denoiser of the kind `registers` changes the forward pass itself, and with it the class token.

    Attributes:
        reader: how the tokens of the ViT are read: through test-time registers, where the denoiser is of that kind.

    Examples:
        >>> import dvt, torch
        >>> backbone = dvt.load_backbone("vit_micro", device="cpu")
        >>> denoised = DenoisedBackbone(backbone, dvt.load_denoiser("vit_micro/denoiser"))
        >>> denoised(torch.rand(1, 3, 224, 224)).patches.shape
        torch.Size([1, 14, 14, 192])
    """

    suffix = "+denoiser"

    def __init__(self, backbone: Backbone, denoiser: Denoiser):
        """Join a ViT and a denoiser that was trained for it.

        Args:
            backbone: the ViT, at the layer that the denoiser was trained on.
            denoiser: the denoiser; it is frozen and moved to the device and precision of the backbone.

        Raises:
            WeightsError: the denoiser is for another ViT, layer, norm or number of channels, or reads blocks that are
                not before the layer of the backbone.
            BackboneError: registers, and a ViT that does not have these neurons.
        """
        super().__init__(backbone)
        _check_same_features(denoiser, backbone)
        if any(layer >= backbone.layer for layer in denoiser.config.layers):
            raise WeightsError(
                f"the denoiser reads the blocks {denoiser.config.layers} before its own layer, and the backbone is read"
                f" at block {backbone.layer}: load the backbone at the layer that the denoiser was trained on."
            )
        if denoiser.num_channels != backbone.num_channels:
            raise WeightsError(
                f"the denoiser is made for {denoiser.num_channels} channels, {backbone.full_name} has"
                f" {backbone.num_channels}: give the denoiser of this backbone."
            )
        self.reader = reader_for(denoiser, backbone.reader)
        hashes = backbone.weights_hash + state_hash(denoiser)
        self.weights_hash = hashlib.sha256(hashes.encode()).hexdigest()
        self._grids_said: set[tuple[int, int]] = set()
        self.denoiser = denoiser.to(backbone.device, backbone.precision.dtype).requires_grad_(False)
        self.eval()

    @property
    def has_own_vit(self) -> bool:
        """Whether the ViT was trained together with the denoiser, so that its own features are not the raw ones."""
        return self.denoiser.info is not None and self.denoiser.info.kind == "denoised"

    @property
    def spec(self) -> FeatureSpec:
        """Which features these are."""
        return replace(super().spec, grid=self.grid)

    @property
    def grid(self) -> PatchGrid:
        """The patches of an image of the default size; the cells of a denoiser that is finer."""
        return self.backbone.grid.finer(self.denoiser.config.fine)

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of an image of that height and width; the cells of a denoiser that is finer.

        Raises:
            GeometryError: the size does not fit patch and stride.
        """
        return self.backbone.grid_for(image_hw).finer(self.denoiser.config.fine)

    def forward_layers(self, images: ImageBatch) -> list[Features]:
        """The clean features of every layer of `layers`, from one forward pass.

        Args:
            images: as for `forward`.

        Raises:
            BackboneError: not a batch of RGB images.
            GeometryError: the size does not fit patch and stride.
        """
        features, count = self(images), len(self.layers)
        parts = zip(features.patches.chunk(count, dim=-1), features.prefix.chunk(count, dim=-1), strict=True)
        return [Features(patches=patches, prefix=prefix, grid=features.grid) for patches, prefix in parts]

    @torch.no_grad()
    def forward(self, images: ImageBatch) -> Features:
        """The clean features of a batch of images of one size.

        Args:
            images: (B, 3, y, x) RGB in [0, 1], not normalised; any size and aspect that fits patch and stride.

        Raises:
            BackboneError: not a batch of RGB images.
            GeometryError: the size does not fit patch and stride.
        """
        raw, prefix, grid = denoiser_input(self.backbone, images, self.denoiser.config.layers, self.reader)
        if self.denoiser.config.kind is Kind.affine and grid.hw not in {self.denoiser.grid_hw, *self._grids_said}:
            self._grids_said.add(grid.hw)
            _log.warning(
                "the calibration was made for %d x %d patches, and these images have %d x %d: its vectors are"
                " resampled. For vectors of this size: dvt calibrate backbone.image_size=...",
                *self.denoiser.grid_hw,
                *grid.hw,
            )
        return Features(patches=self.denoiser(raw), prefix=prefix, grid=grid.finer(self.denoiser.config.fine))


def joined_state(vit: Mapping[str, Tensor], denoiser: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a ViT and of its denoiser under one set of names, as a model folder of kind `denoised` holds them.

    Args:
        vit: by timm's names; they begin with `backbone.` afterwards.
        denoiser: by its names; they begin with `denoiser.` afterwards.
    """
    parts = ((_BACKBONE, vit), (_DENOISER, denoiser))
    return {f"{prefix}{name}": tensor for prefix, part in parts for name, tensor in part.items()}


def split_state(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of the ViT and of the denoiser; the inverse of `joined_state`.

    Examples:
        >>> import torch
        >>> bias = torch.ones(1)
        >>> vit, denoiser = split_state(joined_state({"norm.bias": bias}, {"mixing.linear.bias": bias}))
        >>> list(vit), list(denoiser)
        (['norm.bias'], ['mixing.linear.bias'])
    """
    vit, denoiser = (
        {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        for prefix in (_BACKBONE, _DENOISER)
    )
    return vit, denoiser


def reader_for(denoiser: Denoiser, reader: TokenReader) -> TokenReader:
    """How a denoiser has its ViT read: through registers where it is of that kind, else as it is.

    Raises:
        BackboneError: registers, and a ViT that does not have these neurons.
    """
    if denoiser.neurons is None:
        return reader
    return RegisterReader(reader, [(block, index) for block, index in denoiser.neurons.tolist()])


def _check_same_features(denoiser: Denoiser, backbone: Backbone) -> None:
    """Compare the features that a denoiser is for, as far as it says so, with those of a backbone.

    Raises:
        WeightsError: the ViT, the layer or the norm differ; each is named with both values.
    """
    if denoiser.info is None:
        return
    spec = denoiser.info.spec
    if faults := spec.differences(backbone.spec, "denoiser", "backbone", ignore=("weights_hash", "grid", "channels")):
        lines = "".join(f"\n  {fault}" for fault in faults)
        raise WeightsError(
            f"the denoiser is for other features than the backbone gives:{lines}\n"
            "Give the denoiser of this backbone, or load the backbone as the denoiser was trained:"
            f" dvt.load_backbone({spec.backbone!r}, layer={list(spec.layers)}, norm={spec.norm})."
        )
