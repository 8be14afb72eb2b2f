"""ModelInfo: what a published model is, the content of its `config.json`."""

import json
import math
from dataclasses import dataclass, field, fields
from typing import Any, Final

from dvt.errors import GeometryError, WeightsError
from dvt.files import parse_json
from dvt.spec import FeatureSpec
from dvt.version import __version__

CONFIG_FILE: Final = "config.json"
"""The file that describes the tensors beside it."""
SCHEMA_VERSION: Final = 1
"""Version of the file that this code writes; it reads this one and all older ones."""
KINDS: Final = {
    "denoiser": "a denoiser",
    "distilled": "a distilled ViT",
    "denoised": "a ViT with its denoiser",
    "fixed_size": "a backbone exported at one image size",
    "backbone": "a ViT as it comes",
}
"""Kinds of models, and their names in errors. A distilled ViT gives clean features by itself; a ViT with its denoiser
is both in one file."""
RESTORE: Final = "Restore it from a backup, or copy or download the folder again."
"""What to do with a damaged folder."""

_FORMAT = "dvt model"
_HASH = "weights_sha256"
_ON_DISK: Final = {"weights_hash": "backbone_weights_hash", "channels": "num_channels"}
"""Names in the file of fields of the spec, where they differ."""
_SPEC: Final = tuple(entry.name for entry in fields(FeatureSpec) if entry.name != "earlier_layers")
_OWN: Final[dict[str, tuple[type, ...]]] = {
    "architecture": (dict,), "training": (dict,), "metrics": (dict,), "base_license": (str, type(None)),
    "code_version": (str,),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What published weights are, and which features they belong to."""

    kind: str
    """One of `KINDS`."""
    spec: FeatureSpec
    """The features of the ViT that a denoiser cleans, or a ViT gives; the grid of the training. No hash of the ViT's
    weights for files of the original, which do not record it."""
    architecture: dict[str, Any] = field(default_factory=dict)
    """The `DenoiserConfig` as plain JSON; empty for a ViT alone."""
    training: dict[str, Any] = field(default_factory=dict)
    """How it was trained, as plain JSON: hash of the data, number of images, settings."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What it reached, by name; finite numbers."""
    base_license: str | None
    """Licence of the ViT's weights; None: unknown."""
    made_from: dict[str, Any] = field(default_factory=dict)
    """What a ViT that is not of timm is built from besides its name, as plain JSON; empty for timm."""
    code_version: str = __version__
    """Version of dvt that made it."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            WeightsError: a kind that does not exist, or values that are not plain JSON.
        """
        if self.kind not in KINDS:
            raise WeightsError(f"there is no kind of model {self.kind!r}: give one of {', '.join(KINDS)}.")
        if self.spec.channels < 1:
            raise WeightsError(f"a model cannot have {self.spec.channels} channels: give at least 1.")
        for name in ("architecture", "training", "metrics", "made_from"):
            object.__setattr__(self, name, _plain(name, getattr(self, name)))
        for name, value in self.metrics.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise WeightsError(f"metrics holds {name}={value!r}: give finite numbers.")

    def to_json(self, weights_sha256: str | None = None) -> str:
        """The text of `config.json`.

        Args:
            weights_sha256: hash of the weights file, once there is one.
        """
        spec = {_ON_DISK.get(name, name): value for name, value in self.spec.to_json().items()}
        body = {"format": _FORMAT, "schema": SCHEMA_VERSION, "kind": self.kind, **spec}
        body |= {name: getattr(self, name) for name in _OWN}
        if self.made_from:
            body["made_from"] = self.made_from
        if weights_sha256 is not None:
            body[_HASH] = weights_sha256
        return json.dumps(body, indent=2, allow_nan=False) + "\n"


def parse_config(text: str, source: str) -> tuple[ModelInfo, str | None]:
    """What a model is, and the hash of its weights where the text holds it.

    Args:
        text: content of `config.json`.
        source: name of the file, for the error.

    Raises:
        WeightsError: not the config of a model of dvt, damaged, edited, or made by a newer dvt.
    """
    try:
        body = parse_json(text)
    except ValueError as error:
        raise WeightsError(f"{source} is damaged, not JSON ({error}). {RESTORE}") from error
    if not isinstance(body, dict) or body.pop("format", None) != _FORMAT:
        raise WeightsError(
            f"{source} does not belong to a model of dvt. Give a folder that dvt wrote (`dvt train`, `dvt distill`,"
            " `dvt convert`, save_pretrained)."
        )
    _check_schema(body.pop("schema", None), source)
    sha256 = body.pop(_HASH, None)
    try:
        if type(sha256) not in (str, type(None)):
            raise TypeError(f"{_HASH} is {sha256!r}, not of type str")
        features = {name: body.pop(_ON_DISK.get(name, name)) for name in _SPEC}
        spec = FeatureSpec.from_json(features | {"earlier_layers": body.pop("earlier_layers", [])})
        body.setdefault("made_from", {})
        for name, kinds in {"kind": (str,), "made_from": (dict,), **_OWN}.items():
            if type(body[name]) not in kinds:
                raise TypeError(f"{name} is {body[name]!r}, not of type {kinds[0].__name__}")
        return ModelInfo(**body, spec=spec), sha256
    except KeyError as error:
        raise WeightsError(f"{source} is damaged or was edited (it lacks {error}). {RESTORE}") from error
    except (TypeError, ValueError, GeometryError) as error:
        raise WeightsError(f"{source} is damaged or was edited ({error}). {RESTORE}") from error


def not_a_denoiser(source: str, ways: str, kind: str = "distilled") -> str:
    """The text of an error: a denoiser is wanted, and `source` is a whole ViT of a kind, loaded in other ways."""
    what = "a whole ViT that was distilled (it cleans by itself)" if kind == "distilled" else KINDS[kind]
    return f"{source} is {what}, not a denoiser. Load it with {ways}."


def _check_schema(version: object, source: str) -> None:
    if type(version) is not int or version < 1:
        raise WeightsError(f"{source} is damaged: its schema version is {version!r}. {RESTORE}")
    if version > SCHEMA_VERSION:
        raise WeightsError(
            f"{source} was made by a newer dvt (schema {version}; this one reads {SCHEMA_VERSION}): upgrade dvt."
        )


def _plain(name: str, value: Any) -> Any:
    """The value after JSON: tuples as lists, enums as texts."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{name} is not plain JSON ({error}): give finite numbers, texts, lists, dicts.") from error
