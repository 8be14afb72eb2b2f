"""The folder of a model: `weights.safetensors`, `config.json` and a card. It is read whole or refused."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from dvt.errors import WeightsError
from dvt.files import disk_errors, sha256_of_file, write_atomic
from dvt.paths import expand_home
from dvt.weights.card import model_card
from dvt.weights.info import CONFIG_FILE, KINDS, RESTORE, ModelInfo, parse_config

WEIGHTS_FILE: Final = "weights.safetensors"
"""The tensors. `config.json` is written after them and holds their hash: it is the commit."""
CARD_FILE: Final = "README.md"
"""The card."""


def write_model_folder(folder: str | Path, state: Mapping[str, Tensor], info: ModelInfo) -> None:
    """Write a model. A crash leaves the old or the new model, or a folder that reading refuses.

    An older model in the folder is replaced; other files stay.

    Args:
        folder: where to; made with its parents.
        state: the tensors by name, on any device, in any number format.
        info: what they are.

    Raises:
        WeightsError: there is no tensor to write, or `folder` is a file.
        DiskError: the disk is full or refuses.
    """
    folder = expand_home(folder)
    if not state:
        raise WeightsError(f"no weights were given for {folder}: give at least one tensor.")
    if folder.exists() and not folder.is_dir():
        raise WeightsError(f"{folder} is a file: give the name of a folder.")
    # Tensors that share memory, or are parts of larger ones, are written separately.
    tensors = {key: tensor.detach().cpu().clone().contiguous() for key, tensor in state.items()}
    data = save(tensors, metadata={"format": "pt"})
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / WEIGHTS_FILE, data)
    write_atomic(folder / CONFIG_FILE, info.to_json(hashlib.sha256(data).hexdigest()).encode())


def save_model(folder: str | Path, state: Mapping[str, Tensor], info: ModelInfo, *, source: str | None = None) -> None:
    """Write a model folder with its card; a `README.md` that a user wrote or edited stays.

    Args:
        folder: where to; made with its parents.
        state: the tensors by name; of a distilled ViT those of the timm model.
        info: what they are.
        source: where the model is found, for the card; the name of the folder when left out.

    Raises:
        WeightsError: there is no tensor to write, or `folder` is a file.
        DiskError: the disk is full or refuses.
    """
    folder = expand_home(folder)
    card, ours = model_card(info, source or folder.resolve().name), _card_is_ours(folder, source)
    write_model_folder(folder, state, info)
    if ours:
        write_atomic(folder / CARD_FILE, card.encode())


def _card_is_ours(folder: Path, source: str | None) -> bool:
    """Whether the card may be replaced: there is none, or it is the one that was written for the model there."""
    card = folder / CARD_FILE
    if not card.exists():
        return True
    if not is_model_folder(folder):
        return False
    try:
        return card.read_text(encoding="utf-8") == model_card(read_model_info(folder), source or folder.resolve().name)
    except (OSError, ValueError):  # the model is written anew, the card stays
        return False


def read_model_folder(folder: str | Path, *, kind: str | None = None) -> tuple[dict[str, Tensor], ModelInfo]:
    """Read a model and check every byte of its weights.

    Args:
        folder: the folder.
        kind: one of `KINDS`, to refuse others.

    Returns:
        The tensors by name, on the CPU; and what they are.

    Raises:
        WeightsError: no model folder, half-written, damaged, edited, of another kind, or made by a newer dvt.
    """
    folder = expand_home(folder)
    info, sha256 = parse_config(_read_config(folder), str(folder / CONFIG_FILE))
    if kind is not None and info.kind != kind:
        raise WeightsError(_other_kind(folder, info, kind))
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise WeightsError(f"{folder} has a {CONFIG_FILE} but no {WEIGHTS_FILE}. {RESTORE}")
    try:
        found = sha256_of_file(weights)
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
    """Whether it is a folder with both files of a model; `read_model_folder` checks their content."""
    path = expand_home(path)
    return (path / CONFIG_FILE).is_file() and (path / WEIGHTS_FILE).is_file()


def read_model_info(folder: str | Path) -> ModelInfo:
    """Read what a model is, without its weights.

    Raises:
        WeightsError: no model folder, half-written, damaged, edited, or made by a newer dvt.
    """
    folder = expand_home(folder)
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
        "denoised": f"Load it whole: dvt.load_denoised(weights={str(folder)!r})",
        "fixed_size": "Load it with dvt.load_fixed_size",
        "backbone": f"Load it with dvt.load_backbone({info.spec.backbone!r})",
    }[info.kind]
    held = f"{KINDS[info.kind]} of {info.spec.backbone}"
    return f"{folder} holds {held}; expected {KINDS[kind]}. {way}, or give another folder."
