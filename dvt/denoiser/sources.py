"""Sources: the feature stores that a denoiser learns from, as one list of pairs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvt.denoiser.config import Missing
from dvt.errors import TrainingError
from dvt.images import ImageFile
from dvt.spec import FeatureSpec
from dvt.store import FeatureStore, Record, StoreMeta
from dvt.training.split import split_by_share

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Pair:
    """One image of a store."""

    store: FeatureStore
    """Where its features lie."""
    key: str
    """Its key there."""
    path: Path | None = None
    """The image file, where images were given."""

    @property
    def record(self) -> Record:
        """Its features."""
        return self.store[self.key]


@dataclass(frozen=True, slots=True)
class Sources:
    """Stores of one backbone and one reading."""

    stores: tuple[FeatureStore, ...]
    """In the order in which they were given."""
    pairs: tuple[Pair, ...]
    """Their images; one that several stores hold is taken from the first."""
    num_missing: int
    """Images that were asked for, have no features, and were left out."""

    @property
    def meta(self) -> StoreMeta:
        """What the features are; the same for all stores but for how they were made."""
        return self.stores[0].meta

    @property
    def num_images(self) -> int:
        """How many images there are."""
        return len(self.pairs)

    @property
    def data_hash(self) -> str:
        """Hash of which images' features these are, and how they were made."""
        digest = hashlib.sha256()
        for store in self.stores:
            digest.update(repr(sorted(store.meta.origin.items())).encode())
        for pair in self.pairs:
            digest.update(f"{self.stores.index(pair.store)} {pair.key}\n".encode())
        return digest.hexdigest()

    @property
    def stage1(self) -> list[dict[str, Any]]:
        """How the clean features were made, store by store."""
        return [{"quality": store.meta.quality, "solver": store.meta.solver} for store in self.stores]

    def split(self, val_share: float) -> tuple[list[Pair], list[Pair]]:
        """Training and validation pairs. Each image falls to one side by its key alone; both have at least one.

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
    paths: Sequence[str | Path], needs: FeatureSpec | None, images: Sequence[ImageFile] | None, missing: Missing
) -> Sources:
    """Open the stores and list their pairs.

    Args:
        paths: folders of stores, one at least.
        needs: what the features have to be; None: whatever those of the first store are.
        images: only these, by key; None: all that the stores hold.
        missing: what becomes of images without features.

    Raises:
        StoreError: a store is missing or damaged, or has other features than are needed.
        TrainingError: a store is empty, stores do not go together, or images have no features.
    """
    stores = tuple(FeatureStore.open(path) for path in paths)
    for store in stores:
        store.require(needs or stores[0].meta.spec)
        _check_usable(store)
    held: dict[str, FeatureStore] = {}
    for store in stores:
        for key in store:
            held.setdefault(key, store)
    if images is None:
        return Sources(stores, tuple(Pair(store, key) for key, store in sorted(held.items())), 0)
    without = [image for image in images if image.key not in held]
    if without and missing is Missing.error:
        raise TrainingError(_missing_text(without, len(images), stores, missing))
    asked = sorted((image for image in images if image.key in held), key=lambda image: image.key)
    pairs = tuple(
        Pair(held[image.key], image.key, image.path) for image in asked
    )  # the order of a list decides nothing
    if not pairs:
        raise TrainingError(_missing_text(without, len(images), stores, missing))
    return Sources(stores, pairs, len(without))


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
    named = "".join(f"\n  {image.key}{_why(image.key, stores)}" for image in without[:_NAMED])
    more = f"\n  and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
    where = ", ".join(str(store.path) for store in stores)
    skip = ", or leave them out with pairs.missing=skip" if missing is Missing.error else ""
    return (
        f"{len(without)} of {asked} images have no features in {where}:{named}{more}\n"
        f"Make them with\n  dvt decompose images=... store={stores[0].path} {_backbone_options(stores[0].meta.spec)}\n"
        f"(and backbone.weights=... where its weights came from a file){skip}."
    )


def _backbone_options(spec: FeatureSpec) -> str:
    """The reading of a store as options of a command."""
    options = {
        "timm": spec.backbone,
        "image_size": "[{},{}]".format(*spec.grid.image_hw),
        "layer": spec.layer,
        "norm": str(spec.norm).lower(),
    }
    if spec.grid.stride != spec.grid.patch:
        options["stride"] = spec.grid.stride
    return " ".join(f"backbone.{name}={value}" for name, value in options.items())


def _why(key: str, stores: tuple[FeatureStore, ...]) -> str:
    reason = next((store.failures[key] for store in stores if key in store.failures), "")
    return f"   (failed: {reason})" if reason else ""
