"""SrtBackbone: a ViT with features averaged over image shifts of less than a patch."""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any

import torch

from dvt.backbone.backbone import Backbone
from dvt.backbone.features import Features
from dvt.backbone.wrapped import WrappedBackbone
from dvt.errors import ConfigError
from dvt.grid import PatchGrid
from dvt.shapes import ImageBatch
from dvt.srt.config import SrtConfig
from dvt.srt.shifts import PaddedBatch, Shift, make_aggregator, pad, sub_token_shifts, view

_log = logging.getLogger(__name__)


class SrtBackbone(WrappedBackbone):
    """`srt(images) -> Features` by the Stochastic Resonance Transformer (Lao et al., ICML 2024), without training.

    Each view shows the image shifted by less than a patch. The features of a view are repeated over the pixels of
    their patches, moved back and averaged over all views. The result is averaged over the pixels of each patch. All
    steps are linear, so a few weights per token suffice (`shifts.axis_weights`).

    It has the interface of a `Backbone`. It is frozen and always in evaluation mode.

    Args:
        backbone: the ViT, at any layer, with or without the final norm, at any stride.
        config: shifts and aggregation; None: the defaults.

    Raises:
        ConfigError: shifts of a patch or more, or cells with a fractional number of pixels.

    Example:
        >>> import dvt, torch
        >>> backbone = dvt.load_backbone("vit_micro", image_size=64, device="cpu")
        >>> srt = SrtBackbone(backbone, SrtConfig(max_shift=2, step=2))
        >>> srt.passes
        9
        >>> srt(torch.rand(1, 3, 64, 64)).patches.shape == (1, *backbone.grid.hw, backbone.num_channels)
        True
    """

    suffix = "+srt"

    def __init__(self, backbone: Backbone, config: SrtConfig | None = None):
        super().__init__(backbone)
        self.config = config or SrtConfig()
        grid = backbone.grid
        if self.config.max_shift >= grid.patch:
            raise ConfigError(
                f"srt.max_shift={self.config.max_shift}: SRT shifts by less than a patch, and {backbone.full_name} has"
                f" patches of {grid.patch} px. Give 1 to {grid.patch - 1}."
            )
        if grid.stride % self.config.fine:
            fitting = [number for number in range(1, grid.stride + 1) if grid.stride % number == 0]
            raise ConfigError(
                f"srt.fine={self.config.fine} cuts the {grid.stride} px between patches into cells with a fractional"
                f" number of pixels: give one of {', '.join(map(str, fitting))}."
            )
        self.shifts = sub_token_shifts(self.config.max_shift, self.config.step)
        hashed = backbone.weights_hash + json.dumps(self.settings, sort_keys=True)
        self.weights_hash = hashlib.sha256(hashed.encode()).hexdigest()
        self.eval()

    @torch.no_grad()
    def forward(self, images: ImageBatch) -> Features:
        """The features of a batch of images of one size.

        Args:
            images: (B, 3, y, x) RGB in [0, 1], not normalised; any size that fits patch and stride.

        Returns:
            Patches on `grid_for((y, x))`. Class and register tokens are the mean over all views for every aggregate.
            The dtype is that of the ViT; sums are computed in float32.

        Raises:
            BackboneError: not a batch of RGB images.
            GeometryError: the size does not fit patch and stride.
        """
        return self.with_raw(images)[0]

    @torch.no_grad()
    def with_raw(self, images: ImageBatch) -> tuple[Features, Features]:
        """The features, and the raw features of the unshifted image; arguments and errors as `forward`."""
        raw = self.backbone(images)
        aggregator = make_aggregator(self.config.aggregate, raw.grid, self.config.fine)
        aggregator.add(self.shifts[0], raw.patches)
        prefix = raw.prefix.float()
        margin = self.config.max_shift
        pixels = images.to(self.device, torch.float32)
        for shift, features in self._shifted(pad(pixels, margin, self.config.fill, self.backbone.mean)):
            aggregator.add(shift, features.patches)
            prefix = prefix + features.prefix.float()
        patches = aggregator.result()
        features = Features(
            patches=patches.to(raw.patches.dtype),
            prefix=(prefix / self.passes).to(raw.prefix.dtype),
            grid=self.grid_for(raw.grid.image_hw),
        )
        return features, raw

    def _shifted(self, padded: PaddedBatch) -> Iterator[tuple[Shift, Features]]:
        """Features of all views but the first, batch by batch; the batch is halved when memory runs out."""
        margin, count = self.config.max_shift, len(padded)
        pending, batch_shifts = self.shifts[1:], max(1, self.config.batch_size // count)
        while pending:
            part = pending[:batch_shifts]
            try:
                features = self.backbone(torch.cat([view(padded, margin, shift) for shift in part]))
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                batch_shifts = len(part) // 2
                _log.warning("out of memory on %s: srt.batch_size is lowered to %d.", self.device, batch_shifts * count)
                continue
            yield from _by_shift(part, features)
            pending = pending[batch_shifts:]

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of an image of this height and width; the cells if `fine` is above 1.

        Raises:
            GeometryError: the size does not fit patch and stride.
        """
        return self.backbone.grid_for(image_hw).finer(self.config.fine)

    @property
    def passes(self) -> int:
        """Forward passes of the ViT per image."""
        return len(self.shifts)

    @property
    def settings(self) -> dict[str, Any]:
        """The options that change the features, as plain JSON."""
        settings = asdict(self.config)
        del settings["batch_size"]
        settings["finer"] = settings.pop("fine")  # its name in files, and in the hash of the weights
        return {"srt": {name: value.value if isinstance(value, Enum) else value for name, value in settings.items()}}

    @property
    def grid(self) -> PatchGrid:
        """The patches of an image of the default size; the cells if `fine` is above 1."""
        return self.backbone.grid.finer(self.config.fine)


def _by_shift(shifts: Sequence[Shift], features: Features) -> Iterator[tuple[Shift, Features]]:
    """Split the features of a batch of views by shift."""
    patches, prefix = features.patches.chunk(len(shifts)), features.prefix.chunk(len(shifts))
    for shift, some_patches, some_prefix in zip(shifts, patches, prefix, strict=True):
        yield shift, Features(patches=some_patches, prefix=some_prefix, grid=features.grid)
