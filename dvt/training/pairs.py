"""Images and the clean features of a store, flipped and cropped together."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dvt.backbone.preprocess import Preprocess
from dvt.grid import PatchGrid
from dvt.images import read_image
from dvt.runtime import seed_for
from dvt.shapes import FeatureMap, ImageTensor
from dvt.training.data import Draw, ItemSet
from dvt.training.sources import Pair
from dvt.views.config import Coordinates, ViewsConfig
from dvt.views.coordinates import crop_xy
from dvt.views.crop import Crop, random_crops
from dvt.views.render import make_source, render_views


class CleanMaps:
    """The clean maps of pairs at a grid.

    Maps that are read from F, because the store has another grid, may be kept in memory as float16: 2 H W C bytes each.
    """

    def __init__(self, pairs: Sequence[Pair], grid: PatchGrid, *, keep: bool):
        """Set up; nothing is read yet.

        Args:
            pairs: images of stores.
            grid: where the clean features are wanted.
            keep: keep maps that are read from F.
        """
        self._pairs, self.grid, self._keep = pairs, grid, keep
        self._kept: dict[int, Tensor] = {}

    def __getitem__(self, index: int) -> FeatureMap:
        """(H, W, C) clean features of a pair.

        Raises:
            StoreError: they cannot be read.
        """
        if index in self._kept:
            return self._kept[index]
        pair = self._pairs[index]
        clean = pair.clean(self.grid)
        if self._keep and self.grid != pair.store.meta.spec.grid:
            clean = self._kept[index] = clean.half()
        return clean

    def crop(self, index: int, crop: Crop, source_hw: tuple[int, int]) -> Tensor:
        """(H, W, C) clean features at the places of a crop's patches, float32.

        Where the store holds F it is read there, at the centres of the patches; else the map of the whole image is
        interpolated.

        Args:
            index: of the pair.
            crop: the crop, in pixels of the source.
            source_hw: height and width in pixels of the source.

        Raises:
            StoreError: they cannot be read.
        """
        pair = self._pairs[index]
        if pair.store.meta.field is None:
            return crop_map(self[index], crop, self.grid, source_hw)
        return pair.record.field.read(crop_xy([crop], self.grid, source_hw, Coordinates.centre)[0])


class ImagePairs(ItemSet):
    """`key`, `image` (3, y, x) and `clean` (H, W, C) of images, flipped and cropped together."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        clean: CleanMaps,
        grid: PatchGrid,
        views: ViewsConfig,
        seed: int,
        max_pixels: int,
    ):
        """Set up.

        Args:
            pairs: images with their files.
            clean: their clean maps.
            grid: patches of a view.
            views: probability of flips, and size of crops (`pair_views`).
            seed: of the run.
            max_pixels: larger images are refused.
        """
        self._pairs, self._clean, self._grid, self._seed, self._max_pixels = pairs, clean, grid, seed, max_pixels
        self._views = views

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, item: Draw | int) -> dict[str, Any]:
        """A `Draw` is augmented by its number; an image read by its index is not.

        A whole image is what `backbone.preprocess` gives, which the ViT is shown in use.
        """
        number = item.number if isinstance(item, Draw) else None
        index = item.index if isinstance(item, Draw) else item
        pair = self._pairs[index]
        assert pair.path is not None
        whole = read_image(pair.path, max_pixels=self._max_pixels)
        if number is not None and self._views.area_min < 1:
            image, clean = self._cropped(whole, index, number)
        else:
            image, clean = Preprocess(self._grid.image_hw)(whole), self._clean[index]
            if number is not None and self._flips(number):
                image, clean = image.flip(-1), clean.flip(1)
        return {"key": pair.key, "image": image, "clean": clean}

    def _cropped(self, whole: ImageTensor, index: int, number: int) -> tuple[Tensor, Tensor]:
        source = make_source(whole, self._grid.image_hw, self._views)
        source_hw = (source.shape[-2], source.shape[-1])
        (crop,) = random_crops(source_hw, self._grid.image_hw, 1, seed_for(self._seed, f"draw {number}"), self._views)
        image = render_views(source, [crop], self._grid.image_hw)[0]
        return image, self._clean.crop(index, crop, source_hw)

    def _flips(self, number: int) -> bool:
        rng = torch.Generator().manual_seed(seed_for(self._seed, f"draw {number}"))
        return float(torch.rand((), generator=rng)) < self._views.flip_probability


def pair_views(crop_area_min: float, flip_probability: float) -> ViewsConfig:
    """The views of a training: one of an image.

    Args:
        crop_area_min: smallest area of a crop as a share of the image; 1: no crops.
        flip_probability: of a horizontal flip.
    """
    return ViewsConfig(num_views=1, area_min=crop_area_min, area_max=1.0, flip_probability=flip_probability)


def crop_map(clean: FeatureMap, crop: Crop, grid: PatchGrid, source_hw: tuple[int, int]) -> Tensor:
    """(H, W, C) clean features at the places of a crop's patches, linearly interpolated, float32.

    Beyond the outermost patch centres the nearest value continues.

    Args:
        clean: (H, W, C) of the whole image.
        crop: the crop, in pixels of the source.
        grid: patches of a view, or cells.
        source_hw: height and width in pixels of the source.
    """
    if crop == Crop.whole(source_hw):
        return clean.float()
    image_xy = crop_xy([crop], grid, source_hw, Coordinates.centre)[0]
    first, last = grid.centres_xy[0, 0], grid.centres_xy[-1, -1]
    place = (image_xy - first) / (last - first).clamp(min=1e-6) * 2 - 1  # -1 and 1 are the outermost centres
    sampled = functional.grid_sample(
        clean.permute(2, 0, 1)[None].float(), place[None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return sampled[0].permute(1, 2, 0)
