"""A published model: a folder with `weights.safetensors` and `config.json`, whole or refused."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from dvt.atomic import disk_errors, write_atomic
from dvt.errors import GeometryError, WeightsError
from dvt.grid import PatchGrid

WEIGHTS_FILE: Final = "weights.safetensors"
"""The tensors."""
CONFIG_FILE: Final = "config.json"
"""What they are. It is written last and holds the hash of the tensors: it is the commit."""
SCHEMA_VERSION: Final = 1
"""Version of the folder that this code writes; it reads this one and all before it."""
KINDS: Final = {
    "denoiser": "a denoiser",
    "distilled": "a distilled ViT",
    "fixed_size": "a backbone exported at one image size",
}
"""What may be published, and what errors call it. A distilled ViT has learned to be clean by itself."""

_FORMAT = "dvt model"
_HASH = "weights_sha256"
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "kind": (str,), "backbone": (str,), "backbone_weights_hash": (str, type(None)), "layer": (int,), "norm": (bool,),
    "num_channels": (int,), "architecture": (dict,), "training": (dict,), "metrics": (dict,),
    "base_license": (str, type(None)), "code_version": (str,),
}  # fmt: skip
_RESTORE = "Restore it from a backup, or copy or download the folder again."


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What published weights are, and which ViT they belong to."""

    kind: str
    """One of `KINDS`."""
    backbone: str
    """Full timm name of the ViT, with the tag of its weights."""
    backbone_weights_hash: str | None
    """Hash of the ViT's weights (`Backbone.weights_hash`); None: not recorded, as for files of the original."""
    layer: int
    """Index of the block whose output was cleaned, counted from 0; -1 is the last."""
    norm: bool
    """Whether the ViT's final norm was applied to it."""
    grid: PatchGrid
    """Image size, patch and stride that it was trained at."""
    num_channels: int
    """Channels C of a feature vector."""
    architecture: dict[str, Any]
    """The `DenoiserConfig` as plain JSON; empty where there is only a ViT, whose name says it."""
    training: dict[str, Any]
    """How it was trained, as plain JSON: hash of the data, number of images, settings."""
    metrics: dict[str, float]
    """What it reached, by name; finite numbers."""
    base_license: str | None
    """Licence of the ViT's weights; None: not known."""
    code_version: str
    """Version of dvt that made it."""

    def __post_init__(self) -> None:
        """Refuse what a folder cannot hold.

        Raises:
            WeightsError: a kind that does not exist, or values that are not plain JSON.
        """
        if self.kind not in KINDS:
            raise WeightsError(f"there is no kind of model {self.kind!r}: give one of {', '.join(KINDS)}.")
        if self.num_channels < 1:
            raise WeightsError(f"a model cannot have {self.num_channels} channels: give at least 1.")
        for name in ("architecture", "training", "metrics"):
            object.__setattr__(self, name, _plain(name, getattr(self, name)))
        for name, value in self.metrics.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise WeightsError(f"metrics holds {name}={value!r}: give finite numbers.")

    def to_json(self) -> str:
        """The text of `config.json`, without the hash of the weights."""
        grid = {"image_hw": list(self.grid.image_hw), "patch": self.grid.patch, "stride": self.grid.stride}
        body = {field.name: getattr(self, field.name) for field in fields(self)} | {"grid": grid}
        return _text({"format": _FORMAT, "schema": SCHEMA_VERSION, **body})

    @classmethod
    def from_json(cls, text: str, *, source: str = CONFIG_FILE) -> "ModelInfo":
        """Read the text of `config.json`, with the hash of the weights or without.

        Args:
            text: what the file holds.
            source: the file's name, for the error.

        Raises:
            WeightsError: not the config of a model of dvt, damaged, edited, or made by a newer dvt.
        """
        return _parse(text, source)[0]


def write_model_folder(folder: str | Path, state: Mapping[str, Tensor], info: ModelInfo) -> None:
    """Write a published model. A crash leaves a folder that reading refuses, or the new model, never half of it.

    A model that the folder held before is replaced; other files in it stay.

    Args:
        folder: where to; made with its parents where it is not there.
        state: the tensors by name, on any device; each is written in its own number format.
        info: what they are.

    Raises:
        WeightsError: there is no tensor to write, or `folder` is a file.
        DiskError: the disk is full or refuses.
    """
    folder = Path(folder).expanduser()
    if not state:
        raise WeightsError(f"no weights were given for {folder}: give at least one tensor.")
    if folder.exists() and not folder.is_dir():
        raise WeightsError(f"{folder} is a file: give the name of a folder.")
    # Tensors that share memory (or are parts of larger ones) are written each by itself.
    tensors = {key: tensor.detach().cpu().clone().contiguous() for key, tensor in state.items()}
    data = save(tensors, metadata={"format": "pt"})
    body = {**json.loads(info.to_json()), _HASH: hashlib.sha256(data).hexdigest()}
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / WEIGHTS_FILE, data)
    write_atomic(folder / CONFIG_FILE, _text(body).encode())


def read_model_folder(folder: str | Path, *, kind: str | None = None) -> tuple[dict[str, Tensor], ModelInfo]:
    """Read a published model and check every byte of its weights.

    Args:
        folder: the folder.
        kind: one of `KINDS`, where only that will do.

    Returns:
        The tensors by name, on the CPU; and what they are.

    Raises:
        WeightsError: no model folder, half-written, damaged, edited, of another kind, or made by a newer dvt.
    """
    folder = Path(folder).expanduser()
    info, sha256 = _parse(_read_config(folder), str(folder / CONFIG_FILE))
    if kind is not None and info.kind != kind:
        raise WeightsError(_other_kind(folder, info, kind))
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise WeightsError(f"{folder} has a {CONFIG_FILE} but no {WEIGHTS_FILE}. {_RESTORE}")
    try:
        found = _sha256_of(weights)
        if found != sha256:
            raise WeightsError(
                f"{weights} has the hash {found[:12]}, {CONFIG_FILE} says {(sha256 or 'nothing')[:12]}: the folder is"
                f" half-written, or one of the two files was edited or belongs to another model. {_RESTORE}"
            )
        return load_file(weights), info
    except OSError as error:
        raise WeightsError(f"{weights} cannot be read ({error.strerror}): let this user read it.") from error
    except SafetensorError as error:
        raise WeightsError(f"{weights} is not a safetensors file ({error}). {_RESTORE}") from error


def is_model_folder(path: str | Path) -> bool:
    """Whether it is a folder with both files of a published model; `read_model_folder` tells whether they are whole."""
    path = Path(path).expanduser()
    return (path / CONFIG_FILE).is_file() and (path / WEIGHTS_FILE).is_file()


def read_model_info(folder: str | Path) -> ModelInfo:
    """Read what a published model is, without its weights; `read_model_folder` checks those.

    Raises:
        WeightsError: no model folder, half-written, damaged, edited, or made by a newer dvt.
    """
    folder = Path(folder).expanduser()
    return _parse(_read_config(folder), str(folder / CONFIG_FILE))[0]


def _read_config(folder: Path) -> str:
    if not folder.is_dir():
        reason = "is a file" if folder.exists() else "does not exist"
        raise WeightsError(f"{folder} {reason}. Expected the folder of a model: {CONFIG_FILE} and {WEIGHTS_FILE}.")
    config = folder / CONFIG_FILE
    if not config.is_file():
        if (folder / WEIGHTS_FILE).is_file():
            raise WeightsError(
                f"{folder} has {WEIGHTS_FILE} but no {CONFIG_FILE}: it is half-written or being written."
                " Wait, write it again, or copy or download it again."
            )
        raise WeightsError(
            f"{folder} is no folder of a model. Expected {CONFIG_FILE} and {WEIGHTS_FILE} in it; check the path."
        )
    try:
        return config.read_text(encoding="utf-8")
    except OSError as error:
        raise WeightsError(f"{config} cannot be read ({error.strerror}): let this user read it.") from error
    except UnicodeDecodeError as error:
        raise WeightsError(f"{config} is damaged, not a text ({error}). {_RESTORE}") from error


def _parse(text: str, source: str) -> tuple[ModelInfo, str | None]:
    """What a model is, and the hash of its weights where the text holds it."""
    try:
        body = json.loads(text)
    except ValueError as error:
        raise WeightsError(f"{source} is damaged, not JSON ({error}). {_RESTORE}") from error
    if not isinstance(body, dict) or body.pop("format", None) != _FORMAT:
        raise WeightsError(
            f"{source} does not belong to a model of dvt. Give a folder that dvt wrote (`dvt train`, `dvt distill`,"
            " `dvt convert`, save_pretrained)."
        )
    _check_schema(body.pop("schema", None), source)
    sha256 = body.pop(_HASH, None)
    try:
        for name, kinds in _TYPES.items():
            if type(body[name]) not in kinds:
                raise TypeError(f"{name} is {body[name]!r}, not of type {kinds[0].__name__}")
        grid = body.pop("grid")
        grid = PatchGrid.of(tuple(grid["image_hw"]), grid["patch"], grid["stride"])
        return ModelInfo(**body, grid=grid), sha256
    except KeyError as error:
        raise WeightsError(f"{source} is damaged or was edited (it lacks {error}). {_RESTORE}") from error
    except (TypeError, ValueError, GeometryError) as error:
        raise WeightsError(f"{source} is damaged or was edited ({error}). {_RESTORE}") from error


def _check_schema(version: object, source: str) -> None:
    if type(version) is not int or version < 1:
        raise WeightsError(f"{source} is damaged: its schema version is {version!r}. {_RESTORE}")
    if version > SCHEMA_VERSION:
        raise WeightsError(
            f"{source} was made by a newer dvt (schema {version}; this one reads {SCHEMA_VERSION}): upgrade dvt."
        )


def _other_kind(folder: Path, info: ModelInfo, kind: str) -> str:
    weights = str(folder / WEIGHTS_FILE)
    way = {
        "denoiser": "Load it with dvt.load_denoiser, or with its ViT by dvt.load_denoised",
        "distilled": f"Load it as a backbone: dvt.load_backbone({info.backbone!r}, weights={weights!r})",
        "fixed_size": "Load it with dvt.load_fixed_size",
    }[info.kind]
    return (
        f"{folder} holds {KINDS[info.kind]} of {info.backbone}; expected {KINDS[kind]}. {way}, or give another folder."
    )


def _plain(name: str, value: Any) -> Any:
    """The value as JSON makes it: tuples as lists, names of enums as texts."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{name} is not plain JSON ({error}): give finite numbers, texts, lists, dicts.") from error


def _text(body: dict[str, Any]) -> str:
    return json.dumps(body, indent=2, allow_nan=False) + "\n"


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
