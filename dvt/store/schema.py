"""StoreMeta: what the features of a store are, as `meta.json` holds it."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

import torch

from dvt.errors import GeometryError, StoreError
from dvt.grid import PatchGrid
from dvt.store.formats import FORMATS, Format

SCHEMA_VERSION = 1
"""Version of the files of a store that this code writes; it reads this one and all before it."""

ARRAYS: Final = ("raw", "clean", "artifact")
"""Feature maps that a record may hold, in the order in which they are kept."""

_KIND = "dvt feature store"
_TYPES: Final = {
    "backbone": str, "weights_hash": str, "layer": int, "norm": bool, "channels": int, "solver": dict,
    "quality": str, "code_version": str, "dtype": str,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreMeta:
    """What every record of a store has in common."""

    backbone: str
    """Name of the backbone (timm)."""
    weights_hash: str
    """Hash of the backbone's weights."""
    layer: int
    """Index of the block that the features come from; -1 is the last."""
    norm: bool
    """Whether the final norm was applied."""
    grid: PatchGrid
    """Image size, patch and stride."""
    channels: int
    """Channels C of a feature vector."""
    solver: dict[str, Any]
    """The solver's full configuration, as plain JSON."""
    quality: str
    """Name of the preset that the configuration started from."""
    code_version: str
    """Version of dvt that made the store. A record of the fact: a store may be continued by another version."""
    dtype: str = "float16"
    """Number format of the arrays: float16, float32 or int8."""
    arrays: tuple[str, ...] = ("raw", "clean")
    """Names of the feature maps in each record: some of raw, clean, artifact."""

    def __post_init__(self) -> None:
        if self.dtype not in FORMATS:
            raise StoreError(f"a store cannot hold dtype {self.dtype!r}: give one of {', '.join(FORMATS)}.")
        if not self.arrays or len(set(self.arrays)) < len(self.arrays) or not set(self.arrays) <= set(ARRAYS):
            raise StoreError(
                f"a store cannot hold arrays {list(self.arrays)}: give some of {', '.join(ARRAYS)}, each once."
            )
        if self.channels < 1:
            raise StoreError(f"a store cannot hold {self.channels} channels: give at least 1.")
        # One spelling of equal settings: the order of arrays, and tuples as the lists that JSON makes of them.
        canonical_json(self.solver)
        object.__setattr__(self, "arrays", tuple(name for name in ARRAYS if name in self.arrays))
        object.__setattr__(self, "solver", json.loads(json.dumps(self.solver)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every array."""
        return (*self.grid.hw, self.channels)

    @property
    def torch_dtype(self) -> torch.dtype:
        """Number format of every array that is read."""
        return self.format.read_dtype

    @property
    def format(self) -> Format:
        """How the arrays lie on the disk."""
        return FORMATS[self.dtype]

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape in which every array lies on the disk."""
        return self.format.stored_shape(self.shape)

    @property
    def solver_sha256(self) -> str:
        """Hash of the solver's configuration."""
        return sha256_of(self.solver)

    @property
    def origin(self) -> dict[str, Any]:
        """Where the features come from, as each sidecar repeats it: a shard of another store does not pass."""
        names = ("backbone", "weights_hash", "layer", "norm")
        return {name: getattr(self, name) for name in names} | {"solver_sha256": self.solver_sha256}

    def to_json(self) -> str:
        """The text of `meta.json`."""
        body = {field.name: getattr(self, field.name) for field in fields(self)}
        grid = {"image_hw": list(self.grid.image_hw), "patch": self.grid.patch, "stride": self.grid.stride}
        body |= {"grid": grid, "arrays": list(self.arrays), "solver_sha256": self.solver_sha256}
        return json.dumps({"kind": _KIND, "schema": SCHEMA_VERSION, **body}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, source: str = "meta.json") -> "StoreMeta":
        """Read the text of `meta.json`.

        Args:
            text: what the file holds.
            source: the file's name, for the error's text.

        Raises:
            StoreError: not the meta of a store, damaged, edited, or made by a newer dvt.
        """
        try:
            body = json.loads(text)
        except ValueError as error:
            raise StoreError(f"{source} is damaged, not JSON ({error}): restore it from a backup.") from error
        if not isinstance(body, dict) or body.pop("kind", None) != _KIND:
            raise StoreError(
                f"{source} does not belong to a feature store: give the folder that `dvt decompose` wrote."
            )
        check_schema(body.pop("schema", None), source)
        try:
            solver_sha256 = body.pop("solver_sha256")
            for name, kind in _TYPES.items():
                if type(body[name]) is not kind:
                    raise TypeError(f"{name} is {body[name]!r}, not of type {kind.__name__}")
            grid = body.pop("grid")
            grid = PatchGrid.of(tuple(grid["image_hw"]), grid["patch"], grid["stride"])
            meta = cls(**body | {"grid": grid, "arrays": tuple(body["arrays"])})
        except (KeyError, TypeError, ValueError, GeometryError) as error:
            raise StoreError(f"{source} is damaged or was edited ({error}): restore it from a backup.") from error
        if meta.solver_sha256 != solver_sha256:
            raise StoreError(
                f"{source} was edited: the solver's configuration has hash {meta.solver_sha256[:12]},"
                f" solver_sha256 says {solver_sha256[:12]}. Restore it from a backup."
            )
        return meta

    def differences(self, other: "StoreMeta") -> list[str]:
        """One line per setting in which a store of this meta and another differ; the code version does not count.

        Args:
            other: the settings that somebody wants to write with.
        """
        mine, given = dict(_leaves(self)), dict(_leaves(other))
        absent = "nothing"
        return [
            f"{name}: the store has {mine.get(name, absent)}, given {given.get(name, absent)}"
            for name in dict.fromkeys([*mine, *given])
            if mine.get(name, absent) != given.get(name, absent)
        ]


def check_schema(version: object, source: str) -> None:
    """Check that this code can read files of a schema version.

    Raises:
        StoreError: the version is newer than this code, or none.
    """
    if not isinstance(version, int) or version < 1:
        raise StoreError(f"{source} is damaged: its schema version is {version!r}. Restore it from a backup.")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{source} was made by a newer dvt (schema {version}; this one reads {SCHEMA_VERSION}): upgrade dvt."
        )


def canonical_json(value: object) -> bytes:
    """JSON with one spelling per value, fit for hashing.

    Raises:
        StoreError: the value is not plain JSON, or holds NaN or infinity.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise StoreError(f"not plain JSON ({error}): give numbers, texts, lists and dicts of these.") from error


def sha256_of(value: object) -> str:
    """Hex SHA-256 of a JSON value."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def setting_text(value: object) -> str:
    """A setting as an error shows it."""
    if isinstance(value, PatchGrid):
        return f"{value.image_hw[0]} x {value.image_hw[1]} px, {value}"
    return repr(value)


def _leaves(meta: StoreMeta) -> Iterator[tuple[str, str]]:
    """The settings by dotted name, as texts; without the code version."""
    for field in fields(meta):
        if field.name == "solver":
            yield from _solver_leaves("solver", meta.solver)
        elif field.name != "code_version":
            value = getattr(meta, field.name)
            yield field.name, setting_text(value)


def _solver_leaves(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _solver_leaves(f"{name}.{key}", part)
    else:
        yield name, json.dumps(value)
