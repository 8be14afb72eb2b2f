"""Pairs as PyTorch data sets: raw features or pictures, and the clean features to learn."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from dvt.backbone.backbone import Backbone
from dvt.denoiser.config import PairsConfig
from dvt.denoiser.denoised import denoiser_input
from dvt.denoiser.sources import Pair
from dvt.grid import PatchGrid
from dvt.images import read_image
from dvt.runtime import seed_for
from dvt.shapes import FeatureMap
from dvt.training.batches import Draw
from dvt.views.config import Coordinates, ViewsConfig
from dvt.views.coordinates import crop_xy
from dvt.views.crop import Crop, sample_crops
from dvt.views.render import make_source, render_views

_BATCH = 32


class StoredPairs(Dataset[dict[str, Any]]):
    """`key`, `raw` and `clean` (H, W, C) of images, as a store holds them."""

    def __init__(self, pairs: Sequence[Pair]):
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, item: Draw | int) -> dict[str, Any]:
        record = self._pairs[item.index if isinstance(item, Draw) else item].record
        return {"key": record.key, "raw": record.raw, "clean": record.clean}


class ComputedPairs(Dataset[dict[str, Any]]):
    """`key`, `raw` and `clean` of images, the raw features computed by the ViT once, before the first step.

    Memory: 2 (1 + L) H W C bytes per image, with L earlier blocks.
    """

    def __init__(self, pairs: Sequence[Pair], backbone: Backbone, layers: Sequence[int], max_pixels: int):
        """Note what to compute.

        Args:
            pairs: images with their files.
            backbone: the frozen ViT.
            layers: earlier blocks that are read as well.
            max_pixels: larger pictures are refused.
        """
        self._pairs, self._backbone, self._layers, self._max_pixels = pairs, backbone, layers, max_pixels
        self._raw: list[Tensor] = []

    def prepare(self, device: torch.device) -> None:
        """Compute the raw features on a device.

        Raises:
            ImageError: a picture cannot be read.
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
        record = self._pairs[index].record
        return {"key": record.key, "raw": self._raw[index], "clean": record.clean}


class PicturePairs(Dataset[dict[str, Any]]):
    """`key`, `image` (3, y, x) and `clean` (H, W, C) of images, mirrored and cropped together."""

    def __init__(self, pairs: Sequence[Pair], grid: PatchGrid, config: PairsConfig, seed: int, max_pixels: int):
        """Prepare the data set.

        Args:
            pairs: images with their files.
            grid: patches of a view.
            config: how images are mirrored and cropped.
            seed: of the run.
            max_pixels: larger pictures are refused.
        """
        self._pairs, self._grid, self._seed, self._max_pixels = pairs, grid, seed, max_pixels
        self._views = ViewsConfig(
            num_views=1,
            area_min=config.crop_area_min,
            area_max=1.0,
            flip_probability=config.flip_probability,
        )

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, item: Draw | int) -> dict[str, Any]:
        """A drawn image is changed as its draw says; one that is asked for by number is shown as it is."""
        pair = self._pairs[item.index if isinstance(item, Draw) else item]
        assert pair.path is not None
        source = make_source(read_image(pair.path, max_pixels=self._max_pixels), self._grid.image_hw, self._views)
        source_hw = (source.shape[-2], source.shape[-1])
        crop = self._crop(source_hw, item.number) if isinstance(item, Draw) else Crop.whole(source_hw)
        image = render_views(source, [crop], self._grid.image_hw)[0]
        return {"key": pair.key, "image": image, "clean": crop_map(pair.record.clean, crop, self._grid, source_hw)}

    def _crop(self, source_hw: tuple[int, int], number: int) -> Crop:
        seed = seed_for(self._seed, f"draw {number}")
        if self._views.area_min < 1:
            return sample_crops(source_hw, self._grid.image_hw, 1, seed, self._views)[0]
        rng = torch.Generator().manual_seed(seed)
        whole = Crop.whole(source_hw)
        flip = float(torch.rand((), generator=rng)) < self._views.flip_probability
        return Crop(left=0, top=0, width=whole.width, height=whole.height, flip=flip)


def crop_map(clean: FeatureMap, crop: Crop, grid: PatchGrid, source_hw: tuple[int, int]) -> Tensor:
    """(H, W, C) the clean features at the places that the patches of a crop look at.

    Between the patches of the map its values are interpolated linearly; beyond the outermost centres they continue.

    Args:
        clean: (H, W, C) of the whole image.
        crop: what is shown, in pixels of the source.
        grid: patches of a view.
        source_hw: height and width in pixels of the source.
    """
    if crop == Crop.whole(source_hw):
        return clean
    image_xy = crop_xy([crop], grid, source_hw, Coordinates.centre)[0]
    first, last = grid.centres_xy[0, 0], grid.centres_xy[-1, -1]
    place = (image_xy - first) / (last - first).clamp(min=1e-6) * 2 - 1  # -1 and 1 are the outermost centres
    sampled = functional.grid_sample(
        clean.permute(2, 0, 1)[None].float(), place[None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return sampled[0].permute(1, 2, 0)
