"""A published model: a folder with `weights.safetensors` and `config.json`, whole or refused."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from dvt.errors import WeightsError
from dvt.files import disk_errors, write_atomic
from dvt.weights.info import CONFIG_FILE, KINDS, RESTORE, ModelInfo, parse_config

WEIGHTS_FILE: Final = "weights.safetensors"
"""The tensors. `config.json` is written after them and holds their hash: it is the commit."""


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
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / WEIGHTS_FILE, data)
    write_atomic(folder / CONFIG_FILE, info.to_json(hashlib.sha256(data).hexdigest()).encode())


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
    info, sha256 = parse_config(_read_config(folder), str(folder / CONFIG_FILE))
    if kind is not None and info.kind != kind:
        raise WeightsError(_other_kind(folder, info, kind))
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise WeightsError(f"{folder} has a {CONFIG_FILE} but no {WEIGHTS_FILE}. {RESTORE}")
    try:
        found = _sha256_of(weights)
        if found != sha256:
            raise WeightsError(
                f"{weights} has the hash {found[:12]}, {CONFIG_FILE} says {(sha256 or 'nothing')[:12]}: the folder is"
                f" half-written, or one of the two files was edited or belongs to another model. {RESTORE}"
            )
        return load_file(weights), info
    except OSError as error:
        raise WeightsError(f"{weights} cannot be read ({error.strerror}): let this user read it.") from error
    except SafetensorError as error:
        raise WeightsError(f"{weights} is not a safetensors file ({error}). {RESTORE}") from error


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
    return parse_config(_read_config(folder), str(folder / CONFIG_FILE))[0]


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
        raise WeightsError(f"{config} is damaged, not a text ({error}). {RESTORE}") from error


def _other_kind(folder: Path, info: ModelInfo, kind: str) -> str:
    weights = str(folder / WEIGHTS_FILE)
    way = {
        "denoiser": "Load it with dvt.load_denoiser, or with its ViT by dvt.load_denoised",
        "distilled": f"Load it as a backbone: dvt.load_backbone({info.spec.backbone!r}, weights={weights!r})",
        "fixed_size": "Load it with dvt.load_fixed_size",
        "backbone": f"Load it with dvt.load_backbone({info.spec.backbone!r})",
    }[info.kind]
    held = f"{KINDS[info.kind]} of {info.spec.backbone}"
    return f"{folder} holds {held}; expected {KINDS[kind]}. {way}, or give another folder."


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
