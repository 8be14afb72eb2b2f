"""Stores of features as one list of images, which stages 2 and 3 learn from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvt.backbone.names import options_of
from dvt.errors import StoreError, TrainingError
from dvt.grid import PatchGrid
from dvt.images import ImageFile
from dvt.shapes import FeatureMap
from dvt.spec import FeatureSpec
from dvt.store import FeatureStore, Record
from dvt.training.config import Missing
from dvt.training.data import split_by_share

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
            if (grid := store.meta.spec.grid) != self.spec.grid:  # F is read
                digest.update(repr(grid).encode())
        for pair in self.pairs:
            digest.update(f"{self.stores.index(pair.store)} {pair.key}\n".encode())
        return PairsInfo(
            spec=self.spec,
            num_images=len(self.pairs),
            data_hash=digest.hexdigest(),
            stage1=[{"quality": store.meta.quality, "solver": store.meta.solver} for store in self.stores],
        )

    def split(self, val_share: float, val_max: int | None = None) -> tuple[list[Pair], list[Pair]]:
        """Training and validation pairs, by key alone; both sides get at least one.

        Args:
            val_share: share of the images for validation.
            val_max: most images kept for validation.

        Raises:
            TrainingError: there is one image only.
        """
        if len(self.pairs) < 2:
            raise TrainingError(
                f"{self.stores[0].path} holds one image: one is needed to learn from and another to validate on."
                " Decompose more images."
            )
        train, val = split_by_share([pair.key for pair in self.pairs], val_share, val_max)
        return [self.pairs[number] for number in train], [self.pairs[number] for number in val]


def open_sources(
    paths: str | Path | Sequence[str | Path],
    needs: FeatureSpec | None,
    images: Sequence[ImageFile] | None,
    *,
    missing: Missing,
    group: str,
    fine: int = 1,
    any_grid: bool = False,
) -> Sources:
    """Open the stores and list their pairs.

    Args:
        paths: folders of stores, one at least; one may stand alone.
        needs: the raw features needed; None: those of the first store.
        images: use these only, by key; None: all that the stores hold.
        missing: what happens to images without features.
        group: name of the group of options that has `missing`, for the error.
        fine: cells per patch along each side of the clean features.
        any_grid: the image size and the stride may differ from the store's, as raw features are computed.

    Raises:
        StoreError: a store is missing or damaged, or has other features than needed.
        TrainingError: a store is empty, or images have no features.
    """
    paths = [paths] if isinstance(paths, (str, Path)) else paths
    stores = tuple(FeatureStore.open(path) for path in paths)
    spec = needs or stores[0].meta.spec
    for store in stores:
        require_features(store, spec, fine=fine, any_grid=any_grid)
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
        raise TrainingError(
            _missing_text(without, len(images), stores, f"{group}.missing=skip" if missing is Missing.error else "")
        )
    return Sources(spec, stores, tuple(Pair(held[image.key], image.key, image.path) for image in asked), len(without))


def require_features(store: FeatureStore, spec: FeatureSpec, *, fine: int, any_grid: bool) -> None:
    """Check that a store has the features to learn from.

    Weights, layer and norm have to be those of `spec`. F in the store can be read at any grid.

    Args:
        store: the store.
        spec: the raw features.
        fine: cells per patch along each side of the clean features.
        any_grid: the image size and the stride may differ from the store's, as raw features are computed.

    Raises:
        StoreError: some setting differs, or F is needed and the store does not hold it.
    """
    store.require(spec, ignore=("grid",) if any_grid else ())
    own = store.meta.spec.grid
    if store.meta.field is None and (fine > 1 or spec.grid != own):
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


def _missing_text(without: list[ImageFile], asked: int, stores: tuple[FeatureStore, ...], way_out: str) -> str:
    def reason(key: str) -> str:
        found = next((store.failures[key] for store in stores if key in store.failures), "")
        return f"   (failed: {found})" if found else ""

    named = "".join(f"\n  {image.key}{reason(image.key)}" for image in without[:_NAMED])
    more = f"\n  and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
    where = ", ".join(str(store.path) for store in stores)
    skip = f", or leave them out with {way_out}" if way_out else ""
    return (
        f"{len(without)} of {asked} images have no features in {where}:{named}{more}\n"
        f"Make them with\n  dvt decompose images=... store={stores[0].path} {_backbone_options(stores[0].meta.spec)}\n"
        f"(and backbone.weights=... where its weights came from a file){skip}."
    )


def _backbone_options(spec: FeatureSpec) -> str:
    """The features of a store as options of a command."""
    options = {
        **options_of(spec.backbone),
        "image_size": "[{},{}]".format(*spec.grid.image_hw),
        "layer": f"[{','.join(map(str, spec.layers))}]" if spec.earlier_layers else spec.layer,
        "norm": str(spec.norm).lower(),
    }
    if spec.grid.stride != spec.grid.patch:
        options["stride"] = spec.grid.stride
    return " ".join(f"backbone.{name}={value}" for name, value in options.items())
