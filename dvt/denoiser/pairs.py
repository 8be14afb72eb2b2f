"""Pairs of raw and clean features, as a denoiser learns from them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dvt.backbone.backbone import Backbone
from dvt.denoiser.config import Kind, Raw, TrainConfig
from dvt.denoiser.denoised import denoiser_input
from dvt.denoiser.network import Denoiser
from dvt.errors import ConfigError
from dvt.images import read_image
from dvt.shapes import DenoiserInput, FinerMaps
from dvt.training.data import Draw, ItemSet
from dvt.training.pairs import CleanMaps, ImagePairs, pair_views
from dvt.training.sources import Pair, Sources

_BATCH = 32


def make_pair_set(
    pairs: list[Pair], sources: Sources, config: TrainConfig, backbone: Backbone | None, max_pixels: int
) -> ItemSet:
    """The data set of one side of the split, as the options ask for it.

    Raises:
        ConfigError: options that do not go together, or do not fit the store.
    """
    layers, grid = config.denoiser.layers, sources.spec.grid
    solved = config.denoiser.kind is Kind.linear  # reads each image once
    clean = CleanMaps(pairs, grid.finer(config.denoiser.fine), keep=not solved)
    if config.pairs.raw is Raw.stored:
        if "raw" not in sources.stores[0].meta.arrays:
            raise ConfigError(
                "the store holds no raw features: give pairs.raw=recomputed and images=..., or make a store with"
                " arrays=[raw,clean]."
            )
        return StoredPairs(pairs, clean)
    if backbone is None:
        raise ConfigError(f"pairs.raw={config.pairs.raw.value} needs the ViT that the stores were made with: backbone.")
    if config.pairs.raw is Raw.computed and not solved:
        return ComputedPairs(pairs, clean, backbone, layers, max_pixels)
    views = pair_views(config.pairs.crop_area_min, config.pairs.flip_probability)
    return ImagePairs(pairs, clean, grid, views, config.seed, max_pixels)


def input_of(
    batch: Mapping[str, Any], backbone: Backbone | None, layers: Sequence[int], device: torch.device
) -> DenoiserInput:
    """(B, H, W, (1 + L) C) raw features of a batch, float32; those of L earlier blocks behind them.

    Args:
        batch: with `raw`, or with `image`.
        backbone: the frozen ViT that computes the features of images.
        layers: earlier blocks whose features are taken.
        device: where the features are wanted.
    """
    if "raw" in batch:
        return batch["raw"].to(device, torch.float32)  # type: ignore[no-any-return]
    assert backbone is not None, "pairs of images come with their ViT"
    with torch.no_grad():
        patches, _, _ = denoiser_input(backbone, batch["image"], layers)
    return patches.to(device, torch.float32)


def batch_maps(network: Denoiser, raw: DenoiserInput, clean: FinerMaps) -> dict[str, FinerMaps]:
    """The raw, clean and denoised maps of a batch, to be compared and drawn.

    Args:
        network: the denoiser.
        raw: its input.
        clean: (B, H, W, C) what it should give; at cells if the denoiser is finer. Raw features are repeated then.
    """
    own, fine = raw[..., : network.num_channels], network.config.fine
    own = own.repeat_interleave(fine, dim=1).repeat_interleave(fine, dim=2)
    return {"raw": own, "clean": clean, "denoised": network(raw).float()}


class StoredPairs(ItemSet):
    """`key`, `raw` and `clean` (H, W, C) of images, as a store holds them."""

    def __init__(self, pairs: Sequence[Pair], clean: CleanMaps):
        self._pairs, self._clean = pairs, clean

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, item: Draw | int) -> dict[str, Any]:
        index = item.index if isinstance(item, Draw) else item
        pair = self._pairs[index]
        return {"key": pair.key, "raw": pair.record.raw, "clean": self._clean[index]}


class ComputedPairs(ItemSet):
    """`key`, `raw` and `clean` of images; the ViT computes the raw features once, before the first step.

    Memory: 2 (1 + L) H W C bytes per image, with L earlier blocks.
    """

    def __init__(
        self, pairs: Sequence[Pair], clean: CleanMaps, backbone: Backbone, layers: Sequence[int], max_pixels: int
    ):
        """Set up; nothing is computed yet.

        Args:
            pairs: images with their files.
            clean: their clean maps.
            backbone: the frozen ViT.
            layers: earlier blocks whose features are kept as well.
            max_pixels: larger images are refused.
        """
        self._pairs, self._clean, self._backbone = pairs, clean, backbone
        self._layers, self._max_pixels = layers, max_pixels
        self._raw: list[Tensor] = []

    @torch.no_grad()
    def prepare(self, device: torch.device) -> None:
        """Compute the raw features on a device.

        Raises:
            ImageError: an image cannot be read.
        """
        if self._raw:
            return
        backbone = self._backbone.to(device)
        for start in range(0, len(self._pairs), _BATCH):
            files = [pair.path for pair in self._pairs[start : start + _BATCH] if pair.path is not None]
            images = [backbone.preprocess(read_image(path, max_pixels=self._max_pixels)) for path in files]
            raw, _, _ = denoiser_input(backbone, torch.stack(images), self._layers)
            self._raw += raw.to("cpu", torch.float16).unbind()
        assert len(self._raw) == len(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, item: Draw | int) -> dict[str, Any]:
        index = item.index if isinstance(item, Draw) else item
        return {"key": self._pairs[index].key, "raw": self._raw[index], "clean": self._clean[index]}
