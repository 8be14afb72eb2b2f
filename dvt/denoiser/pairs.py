"""Pairs of raw and clean features: the stores they come from, and the data sets that give them to the training."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dvt.backbone.backbone import Backbone
from dvt.denoiser.config import Kind, Missing, PairsConfig, Raw, TrainConfig
from dvt.denoiser.denoised import denoiser_input
from dvt.denoiser.network import Denoiser
from dvt.errors import ConfigError, StoreError, TrainingError
from dvt.grid import PatchGrid
from dvt.images import ImageFile, read_image
from dvt.runtime import seed_for
from dvt.shapes import DenoiserInput, FeatureMap, FinerMaps
from dvt.spec import FeatureSpec
from dvt.store import FeatureStore, Record
from dvt.training.data import Draw, ItemSet, split_by_share
from dvt.views.config import Coordinates, ViewsConfig
from dvt.views.coordinates import crop_xy
from dvt.views.crop import Crop, random_crops
from dvt.views.render import make_source, render_views

_BATCH = 32
_NAMED = 5


@dataclass(frozen=True, slots=True)
class PairsInfo:
    """Description of the pairs of a run, for its settings and the published model."""

    spec: FeatureSpec
    """Which features these are."""
    num_images: int
    """Number of images, for training and validation."""
    data_hash: str
    """Hash of the images' keys and of how their features are made."""
    stage1: list[dict[str, Any]]
    """How the clean features are made, as plain JSON: an entry per store."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One image of a store."""

    store: FeatureStore
    """The store of its features."""
    key: str
    """Its key there."""
    path: Path | None = None
    """The image file, where images were given."""

    @property
    def record(self) -> Record:
        """Its features."""
        return self.store[self.key]

    def clean(self, grid: PatchGrid) -> FeatureMap:
        """(H, W, C) clean features at a grid: as they are stored, or read from F where the store has another grid.

        Raises:
            StoreError: they cannot be read, or the store does not hold F.
        """
        if grid == self.store.meta.spec.grid:
            return self.record.clean
        return self.record.field.read(grid)


@dataclass(frozen=True, slots=True)
class Sources:
    """Stores of the same features, as one list of pairs."""

    spec: FeatureSpec
    """The raw features, at the grid on which they are learned from."""
    stores: tuple[FeatureStore, ...]
    """In the order given."""
    pairs: tuple[Pair, ...]
    """Their images; the first store wins where several hold one."""
    num_missing: int
    """Images that were asked for, have no features, and were left out."""

    @property
    def info(self) -> PairsInfo:
        """Their description."""
        digest = hashlib.sha256()
        for store in self.stores:
            digest.update(repr(sorted(store.meta.origin.items())).encode())
        for pair in self.pairs:
            digest.update(f"{self.stores.index(pair.store)} {pair.key}\n".encode())
        return PairsInfo(
            spec=self.spec,
            num_images=len(self.pairs),
            data_hash=digest.hexdigest(),
            stage1=[{"quality": store.meta.quality, "solver": store.meta.solver} for store in self.stores],
        )

    def split(self, val_share: float) -> tuple[list[Pair], list[Pair]]:
        """Training and validation pairs, by key alone; both sides get at least one.

        Raises:
            TrainingError: there is one image only.
        """
        if len(self.pairs) < 2:
            raise TrainingError(
                f"{self.stores[0].path} holds one image: one is needed to learn from and another to validate on."
                " Decompose more images."
            )
        train, val = split_by_share([pair.key for pair in self.pairs], val_share)
        return [self.pairs[number] for number in train], [self.pairs[number] for number in val]


def open_sources(
    paths: Sequence[str | Path], needs: FeatureSpec | None, images: Sequence[ImageFile] | None, config: TrainConfig
) -> Sources:
    """Open the stores and list their pairs.

    Args:
        paths: folders of stores, one at least.
        needs: the raw features needed; None: those of the first store.
        images: use these only, by key; None: all that the stores hold.
        config: how the pairs are made, and how fine the clean features are.

    Raises:
        StoreError: a store is missing or damaged, or has other features than needed.
        TrainingError: a store is empty, or images have no features.
    """
    stores = tuple(FeatureStore.open(path) for path in paths)
    spec, missing = needs or stores[0].meta.spec, config.pairs.missing
    for store in stores:
        require_features(store, spec, config)
        _check_usable(store)
    held: dict[str, FeatureStore] = {}
    for store in stores:
        for key in store:
            held.setdefault(key, store)
    if images is None:
        return Sources(spec, stores, tuple(Pair(store, key) for key, store in sorted(held.items())), 0)
    without = [image for image in images if image.key not in held]
    asked = sorted((image for image in images if image.key in held), key=lambda image: image.key)
    if (without and missing is Missing.error) or not asked:
        raise TrainingError(_missing_text(without, len(images), stores, missing))
    return Sources(spec, stores, tuple(Pair(held[image.key], image.key, image.path) for image in asked), len(without))


def require_features(store: FeatureStore, spec: FeatureSpec, config: TrainConfig) -> None:
    """Check that a store has the features to learn from.

    Weights, layer and norm have to be those of `spec`. The image size and the stride may be others where F is in the
    store, which can be read at any grid, and the raw features are computed.

    Args:
        store: the store.
        spec: the raw features.
        config: how the pairs are made, and how fine the clean features are.

    Raises:
        StoreError: some setting differs, or F is needed and the store does not hold it.
    """
    has_field, computes = store.meta.field is not None, config.pairs.raw is not Raw.stored
    store.require(spec, ignore=("grid",) if computes else ())
    fine, own = config.denoiser.fine, store.meta.spec.grid
    if not has_field and (fine > 1 or spec.grid != own):
        wanted = f"denoiser.fine={fine}" if fine > 1 else "{} x {} px".format(*spec.grid.image_hw) + f", {spec.grid},"
        raise StoreError(
            f"{wanted} needs F at another grid than the {own} of the store {store.path}, which does not hold F. Make a"
            f" store that does: dvt decompose images=... store=NEW_FOLDER fine={max(2, fine)}"
            f" {_backbone_options(store.meta.spec)}"
        )


def _check_usable(store: FeatureStore) -> None:
    if not len(store):
        failed = f", and {len(store.failures)} images failed" if store.failures else ""
        raise TrainingError(
            f"the store {store.path} is empty{failed}: fill it with dvt decompose images=... store={store.path}"
        )
    if "clean" not in store.meta.arrays:
        raise TrainingError(
            f"the store {store.path} holds {', '.join(store.meta.arrays)}, and no clean features to learn:"
            " make one with arrays=[raw,clean]."
        )


def _missing_text(without: list[ImageFile], asked: int, stores: tuple[FeatureStore, ...], missing: Missing) -> str:
    def reason(key: str) -> str:
        found = next((store.failures[key] for store in stores if key in store.failures), "")
        return f"   (failed: {found})" if found else ""

    named = "".join(f"\n  {image.key}{reason(image.key)}" for image in without[:_NAMED])
    more = f"\n  and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
    where = ", ".join(str(store.path) for store in stores)
    skip = ", or leave them out with pairs.missing=skip" if missing is Missing.error else ""
    return (
        f"{len(without)} of {asked} images have no features in {where}:{named}{more}\n"
        f"Make them with\n  dvt decompose images=... store={stores[0].path} {_backbone_options(stores[0].meta.spec)}\n"
        f"(and backbone.weights=... where its weights came from a file){skip}."
    )


def _backbone_options(spec: FeatureSpec) -> str:
    """The features of a store as options of a command."""
    options = {
        "timm": spec.backbone,
        "image_size": "[{},{}]".format(*spec.grid.image_hw),
        "layer": spec.layer,
        "norm": str(spec.norm).lower(),
    }
    if spec.grid.stride != spec.grid.patch:
        options["stride"] = spec.grid.stride
    return " ".join(f"backbone.{name}={value}" for name, value in options.items())


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
    return ImagePairs(pairs, clean, grid, config.pairs, config.seed, max_pixels)


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


class ImagePairs(ItemSet):
    """`key`, `image` (3, y, x) and `clean` (H, W, C) of images, flipped and cropped together."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        clean: CleanMaps,
        grid: PatchGrid,
        config: PairsConfig,
        seed: int,
        max_pixels: int,
    ):
        """Set up.

        Args:
            pairs: images with their files.
            clean: their clean maps.
            grid: patches of a view.
            config: probability of flips, and size of crops.
            seed: of the run.
            max_pixels: larger images are refused.
        """
        self._pairs, self._clean, self._grid, self._seed, self._max_pixels = pairs, clean, grid, seed, max_pixels
        self._views = ViewsConfig(
            num_views=1,
            area_min=config.crop_area_min,
            area_max=1.0,
            flip_probability=config.flip_probability,
        )

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, item: Draw | int) -> dict[str, Any]:
        """A `Draw` is augmented by its number; an image read by its index is not."""
        index = item.index if isinstance(item, Draw) else item
        pair = self._pairs[index]
        assert pair.path is not None
        source = make_source(read_image(pair.path, max_pixels=self._max_pixels), self._grid.image_hw, self._views)
        source_hw = (source.shape[-2], source.shape[-1])
        crop = self._crop(source_hw, item.number) if isinstance(item, Draw) else Crop.whole(source_hw)
        image = render_views(source, [crop], self._grid.image_hw)[0]
        clean = crop_map(self._clean[index], crop, self._clean.grid, source_hw)
        return {"key": pair.key, "image": image, "clean": clean}

    def _crop(self, source_hw: tuple[int, int], number: int) -> Crop:
        seed = seed_for(self._seed, f"draw {number}")
        if self._views.area_min < 1:
            return random_crops(source_hw, self._grid.image_hw, 1, seed, self._views)[0]
        rng = torch.Generator().manual_seed(seed)
        whole = Crop.whole(source_hw)
        flip = float(torch.rand((), generator=rng)) < self._views.flip_probability
        return Crop(left=0, top=0, width=whole.width, height=whole.height, flip=flip)


def crop_map(clean: FeatureMap, crop: Crop, grid: PatchGrid, source_hw: tuple[int, int]) -> Tensor:
    """(H, W, C) clean features at the places of a crop's patches, linearly interpolated.

    Beyond the outermost patch centres the nearest value continues.

    Args:
        clean: (H, W, C) of the whole image.
        crop: the crop, in pixels of the source.
        grid: patches of a view, or cells.
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
