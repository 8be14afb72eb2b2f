"""FeatureStore: a store as a read-only mapping from key to record."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from dvt.errors import StoreError
from dvt.field import BilinearField
from dvt.shapes import FeatureMap, Float
from dvt.spec import FeatureSpec
from dvt.store.folder import SHARDS, read_meta
from dvt.store.journal import read_failures
from dvt.store.keys import nearest_keys
from dvt.store.schema import FIELD, StoreMeta
from dvt.store.shard import Shard, check_size, read_stored, scan

_NAMED = 5


class MissingKeyError(StoreError, KeyError):
    """A record that a store does not hold."""

    # KeyError would show the text in quotes, with its line breaks escaped.
    __str__ = StoreError.__str__


class _Place(NamedTuple):
    """Place of a record: its shard, and the first byte of each array, in the order of `meta.shapes`."""

    file: str
    begins: tuple[int, ...]


class Record:
    """The feature maps of one image. Each access reads from the disk."""

    __slots__ = ("_file", "_meta", "_place", "key")

    def __init__(self, key: str, folder: Path, place: _Place, meta: StoreMeta) -> None:
        self.key = key
        self._file = folder / place.file
        self._place = place
        self._meta = meta

    @property
    def raw(self) -> FeatureMap:
        """(H, W, C) features of the backbone on the whole image, in the store's number format.

        Raises:
            StoreError: the store does not hold them, or they cannot be read.
        """
        return self.array("raw")

    @property
    def clean(self) -> FeatureMap:
        """(H, W, C) clean features F, in the store's number format.

        Raises:
            StoreError: the store does not hold them, or they cannot be read.
        """
        return self.array("clean")

    @property
    def artifact(self) -> FeatureMap:
        """(H, W, C) artifact G, in the store's number format.

        Raises:
            StoreError: the store does not hold it, or it cannot be read.
        """
        return self.array("artifact")

    @property
    def field(self) -> BilinearField:
        """F, rounded to the store's number format and computed in float32, to be read at any grid or position.

        Raises:
            StoreError: the store does not hold it, or it cannot be read.

        Examples:
            >>> import dvt
            >>> from dvt.decomposition.quality import load_quality
            >>> backbone = dvt.load_backbone("vit_micro", image_size=64, device="cpu")
            >>> files, config = dvt.find_images("photos/")[:1], load_quality("tiny", {"fine": 2})
            >>> _ = dvt.decompose_list(files, backbone, "with_field", config)
            >>> store = dvt.FeatureStore.open("with_field")
            >>> store[files[0].key].field.read(store.meta.spec.grid.finer(2)).shape
            torch.Size([8, 8, 192])
        """
        about = self._meta.field
        if about is None:
            raise StoreError(
                f"the store holds {', '.join(self._meta.arrays)} of {self.key!r}, not the field F. Make a store that"
                " does: dvt decompose images=... store=NEW_FOLDER fine=2"
            )
        values = self._read(FIELD).float().flatten(0, 1)
        return BilinearField(nodes=about.nodes, values=values, samples_per_patch=about.samples_per_patch)

    def array(self, name: str) -> FeatureMap:
        """Read the (H, W, C) map of a name out of `meta.arrays`.

        Raises:
            StoreError: the store does not hold it, or it cannot be read.
        """
        held = self._meta.arrays
        if name not in held:
            raise StoreError(f"the store holds {', '.join(held)} of {self.key!r}, not {name}: make one that does.")
        return self._read(name)

    def _read(self, name: str) -> Float[Tensor, "rows columns C"]:
        shapes = self._meta.shapes
        stored = read_stored(self._file, name, self._place.begins[list(shapes).index(name)], self._meta)
        return self._meta.format.decode(stored, shapes[name])

    def __repr__(self) -> str:
        field = "" if self._meta.field is None else f", field: {self._meta.field}"
        return f"Record({self.key!r}, {', '.join(self._meta.arrays)}: {self._meta.dtype} {self._meta.shape}{field})"


class FeatureStore(Mapping[str, Record]):
    """The committed records of a store at the moment of opening; open it with `FeatureStore.open`.

    Iterates in sorted order of the keys. Holds no open file; may be pickled and used by many processes.
    A key in several shards is read from the first by name.
    """

    def __init__(self, path: Path, meta: StoreMeta, places: dict[str, _Place], failures: dict[str, str]) -> None:
        self.path = path
        """Folder of the store."""
        self.meta = meta
        """What the records are."""
        self.failures = failures
        """Why images failed, by key; those done since are not listed."""
        self._places = places

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "FeatureStore":
        """Open a store for reading. It checks the sizes of the shards; `dvt.store.verify` checks their bytes.

        Raises:
            StoreError: there is no store at this path, it was made by a newer dvt, or shards are missing or damaged.

        Examples:
            >>> import dvt, tempfile, torch
            >>> from dvt.store import StoreMeta, StoreWriter
            >>> backbone = dvt.load_backbone("vit_micro", device="cpu")
            >>> meta = StoreMeta(spec=backbone.spec, solver={}, quality="none", code_version=dvt.__version__)
            >>> folder = tempfile.mkdtemp()
            >>> with StoreWriter.open(folder, meta) as writer:
            ...     writer.put("cat.jpg", {"raw": torch.zeros(meta.shape), "clean": torch.ones(meta.shape)})
            >>> store = FeatureStore.open(folder)
            >>> store["cat.jpg"].clean.shape
            torch.Size([14, 14, 192])
        """
        path = Path(path)
        meta = read_meta(path)
        places: dict[str, _Place] = {}
        damaged: list[str] = []
        for _, found in scan(path, meta, check_size):
            if isinstance(found, Shard):
                for record in found.records:
                    begins = tuple(record.arrays[name].begin for name in meta.shapes)
                    places.setdefault(record.key, _Place(found.file, begins))
            else:
                damaged.append(str(found))
        if damaged:
            raise StoreError(_damage_text(path, damaged))
        failures = {key: error for key, error in read_failures(path).items() if key not in places}
        return cls(path, meta, {key: places[key] for key in sorted(places)}, failures)

    def require(self, spec: FeatureSpec, *, ignore: tuple[str, ...] = ()) -> None:
        """Check that the features are the required ones.

        Args:
            spec: what they have to be, such as `backbone.spec`.
            ignore: names of its fields that may differ.

        Raises:
            StoreError: some setting differs; each is named with both values.
        """
        if faults := self.meta.spec.differences(spec, "store", "request", ignore=ignore):
            lines = "".join(f"\n  {fault}" for fault in faults)
            raise StoreError(
                f"the store {self.path} does not fit:{lines}\n"
                "Give a store made with these settings, or use the settings of the store."
            )

    def __getitem__(self, key: str) -> Record:
        place = self._places.get(key)
        if place is None:
            raise MissingKeyError(self._missing_text(key))
        return Record(key, self.path / SHARDS, place, self.meta)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.path)!r}, {len(self)} records of {self.meta.spec.backbone})"

    def _missing_text(self, key: str) -> str:
        nearest = ", ".join(map(repr, nearest_keys(key, list(self))))
        failed = f" It failed: {self.failures[key]}." if key in self.failures else ""
        return (
            f"the store {self.path} has no record {key!r} (it has {len(self)}).{failed}"
            + (f" Nearest: {nearest}." if nearest else "")
            + f" Make it with: dvt decompose images=... store={self.path}"
        )


def _damage_text(path: Path, damaged: list[str]) -> str:
    more = f"\n  and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
    lines = "".join(f"\n  {reason}" for reason in damaged[:_NAMED])
    return (
        f"the store {path} has {len(damaged)} damaged shard{'s' * (len(damaged) > 1)}:{lines}{more}\n"
        f"See all with: dvt store verify {path}\n"
        f"Running the same `dvt decompose images=... store={path}` again sets them aside and makes their images again."
    )
