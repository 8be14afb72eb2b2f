"""StoreMeta: which features a store holds and how they were made, the content of `meta.json`."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

import torch

from dvt.errors import GeometryError, StoreError
from dvt.field import NodeGrid
from dvt.files import parse_json
from dvt.settings import differences
from dvt.spec import FeatureSpec
from dvt.store.formats import FORMATS, Format

SCHEMA_VERSION = 2
"""Newest version of the files of a store that this code reads and writes: 2 where records hold F, 1 elsewhere."""

ARRAYS: Final = ("raw", "clean", "artifact")
"""Feature maps that a record may hold, in stored order."""
FIELD: Final = "field"
"""Name of the nodes of F in a record; stored after the maps."""

_KIND = "dvt feature store"
_TYPES: Final = {"solver": dict, "quality": str, "code_version": str, "dtype": str, "solver_sha256": str}


@dataclass(frozen=True, slots=True)
class FieldMeta:
    """F in every record of a store: values on a grid of nodes, interpolated."""

    nodes: NodeGrid
    """Positions of the nodes."""
    samples_per_patch: int
    """A patch or cell is the mean of F over this many positions along each side."""

    def to_json(self) -> dict[str, Any]:
        """The entry of `meta.json`."""
        return {"nodes": list(self.nodes.hw), "samples_per_patch": self.samples_per_patch}

    @classmethod
    def from_json(cls, body: Any) -> "FieldMeta":
        """Read what `to_json` wrote.

        Raises:
            KeyError: an entry is missing.
            TypeError: an entry has another type.
            GeometryError: fewer than two nodes along a side.
        """
        nodes, samples = body["nodes"], body["samples_per_patch"]
        if any(type(number) is not int for number in (*nodes, samples)):
            raise TypeError(f"field is {body!r}, not of whole numbers")
        return cls(NodeGrid(tuple(nodes)), samples)

    def __str__(self) -> str:
        rows, columns = self.nodes.hw
        return f"{rows} x {columns} nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreMeta:
    """What every record of a store has in common."""

    spec: FeatureSpec
    """Which features these are, with the hash of the weights."""
    solver: dict[str, Any]
    """The solver's full configuration, as plain JSON."""
    quality: str
    """Name of the preset of the configuration."""
    code_version: str
    """Version of dvt that made the store; another version may continue it."""
    dtype: str = "float16"
    """Number format of the arrays: float16, float32 or int8."""
    arrays: tuple[str, ...] = ("raw", "clean")
    """Names of the feature maps in each record: some of raw, clean, artifact."""
    field: FieldMeta | None = None
    """F in each record; None: the store does not hold it."""

    def __post_init__(self) -> None:
        if self.dtype not in FORMATS:
            raise StoreError(f"a store cannot hold dtype {self.dtype!r}: give one of {', '.join(FORMATS)}.")
        if not self.arrays or len(set(self.arrays)) < len(self.arrays) or not set(self.arrays) <= set(ARRAYS):
            raise StoreError(
                f"a store cannot hold arrays {list(self.arrays)}: give some of {', '.join(ARRAYS)}, each once."
            )
        if self.spec.channels < 1:
            raise StoreError(f"a store cannot hold {self.spec.channels} channels: give at least 1.")
        if self.spec.weights_hash is None:
            raise StoreError("a store needs the hash of the backbone's weights: give spec.weights_hash.")
        # Equal settings are written in one way: order of arrays, lists for tuples.
        canonical_json(self.solver)
        object.__setattr__(self, "arrays", tuple(name for name in ARRAYS if name in self.arrays))
        object.__setattr__(self, "solver", json.loads(json.dumps(self.solver)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every feature map."""
        return self.spec.shape

    @property
    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """(rows, columns, C) of everything that a record holds, by name in stored order: the maps, then the field."""
        maps = dict.fromkeys(self.arrays, self.shape)
        return maps if self.field is None else {**maps, FIELD: (*self.field.nodes.hw, self.spec.channels)}

    @property
    def schema(self) -> int:
        """Version of the files: 1 without F, so that an older dvt can read them."""
        return 1 if self.field is None else 2

    @property
    def torch_dtype(self) -> torch.dtype:
        """Number format of every array that is read."""
        return self.format.read_dtype

    @property
    def format(self) -> Format:
        """Stored form of the arrays."""
        return FORMATS[self.dtype]

    @property
    def solver_sha256(self) -> str:
        """Hash of the solver's configuration."""
        return sha256_of(self.solver)

    @property
    def origin(self) -> dict[str, Any]:
        """Origin of the features, repeated in each sidecar: shards of other stores are refused."""
        spec = self.spec
        return {
            "backbone": spec.backbone, "weights_hash": spec.weights_hash, "layer": spec.layer, "norm": spec.norm,
            "solver_sha256": self.solver_sha256,
            **({"earlier_layers": list(spec.earlier_layers)} if spec.earlier_layers else {}),
        }  # fmt: skip

    def to_json(self) -> str:
        """The text of `meta.json`."""
        body = {"kind": _KIND, "schema": self.schema, **self.spec.to_json()}
        body |= {name: getattr(self, name) for name in ("solver", "quality", "code_version", "dtype")}
        body |= {"arrays": list(self.arrays), "solver_sha256": self.solver_sha256}
        if self.field is not None:
            body |= {FIELD: self.field.to_json()}
        return json.dumps(body, indent=2) + "\n"

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
            body = parse_json(text)
        except ValueError as error:
            raise StoreError(f"{source} is damaged, not JSON ({error}): restore it from a backup.") from error
        if not isinstance(body, dict) or body.pop("kind", None) != _KIND:
            raise StoreError(
                f"{source} does not belong to a feature store: give the folder that `dvt decompose` wrote."
            )
        check_schema(body.pop("schema", None), source)
        try:
            for name, kind in _TYPES.items():
                if type(body[name]) is not kind:
                    raise TypeError(f"{name} is {body[name]!r}, not of type {kind.__name__}")
            solver_sha256 = body.pop("solver_sha256")
            spec = FeatureSpec.from_json(body)
            own = {name: value for name, value in body.items() if name not in spec.to_json()}
            own["arrays"] = tuple(body["arrays"])
            if FIELD in own:
                own[FIELD] = FieldMeta.from_json(own[FIELD])
            meta = cls(**own, spec=spec)
        except (KeyError, TypeError, ValueError, GeometryError) as error:
            raise StoreError(f"{source} is damaged or was edited ({error}): restore it from a backup.") from error
        if meta.solver_sha256 != solver_sha256:
            raise StoreError(
                f"{source} was edited: the solver's configuration has hash {meta.solver_sha256[:12]},"
                f" solver_sha256 says {solver_sha256[:12]}. Restore it from a backup."
            )
        return meta

    def differences(self, other: "StoreMeta", this: str = "store", that: str = "request") -> list[str]:
        """One line per setting that differs; the code version may."""
        own, others = (
            {"solver": meta.solver, "quality": meta.quality, "dtype": meta.dtype, "arrays": list(meta.arrays)}
            | {FIELD: None if meta.field is None else str(meta.field)}
            for meta in (self, other)
        )
        return [*self.spec.differences(other.spec, this, that), *differences(own, others, this, that, strict=True)]


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
    """Canonical JSON, for hashing.

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
