"""Read weights files without running code, compare keys, load strictly."""

import argparse
import logging
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dvt.errors import WeightsError, first_line
from dvt.paths import expand_home

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".pth.tar", ".ckpt")
"""Suffixes of files that torch.save wrote."""
_NESTINGS = (
    ("teacher", "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema"),
    ("state_dict", "model", "model_state_dict", "model_state", "encoder", "denoiser"),
    ("module", "network", "net", "backbone"),
    ("student", "target_encoder"),
)
"""Entries of a file that may hold its state dict: a running mean first, what was trained against it last."""
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "backbone.vit.", "backbone.")
"""`network.` and `backbone.vit.` are of our own training: the network of a step, the ViT of a student."""
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_CONVERT = "Where you trust it, load it with the code it came from and save its state dict as .safetensors."
_AGAIN = "Copy or download it again."

_log = logging.getLogger(__name__)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file onto the CPU. No code in the file is ever run.

    `.safetensors` holds only tensors. Files of torch.save (`.pth`, `.pt`, `.bin`, `.pth.tar`, `.ckpt`) are read with
    torch's weights-only unpickler. A nested state dict is found, at any depth, where one entry with a usual name holds
    it (`state_dict`, `model`, ...); of two, a teacher or running mean is taken (`teacher`, `model_ema`, ...), with a
    warning. The prefixes `module.`, `_orig_mod.`, `model.`, `network.`, `backbone.` and `backbone.vit.` are removed if
    every key has them.

    Args:
        path: the file.

    Raises:
        WeightsError: the file is missing, of an unknown kind, damaged, holds code, or holds no state dict.
    """
    path = expand_home(path)
    return find_state_dict(read_file(path), path)


def read_file(path: str | Path) -> Any:
    """Read the whole content of a weights file onto the CPU. No code in the file is ever run.

    Args:
        path: the file.

    Raises:
        WeightsError: the file is missing, of an unknown kind, damaged, or holds code.
    """
    path = expand_home(path)
    _check_file(path)
    if path.suffix != ".safetensors":
        return _read_torch(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged, truncated, or not a safetensors file ({error}). {_AGAIN}") from error


def find_state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in the content of a file, as `read_state_dict` finds it.

    Args:
        content: what `read_file` returned.
        path: the file, for the error.

    Raises:
        WeightsError: there is none, or more than one.
    """
    return _without_prefixes(_dig(content, path))


@dataclass(frozen=True, slots=True)
class KeyReport:
    """Differences between the tensors of a file and of a model."""

    missing: tuple[str, ...]
    """Keys of the model that the file lacks."""
    unexpected: tuple[str, ...]
    """Keys of the file that the model lacks."""
    mis_shaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    """Keys of both with another shape: key, shape in the model, shape in the file."""

    @property
    def ok(self) -> bool:
        """Whether the file fits the model exactly."""
        return not (self.missing or self.unexpected or self.mis_shaped)

    def __str__(self) -> str:
        if self.ok:
            return "every key fits"
        shapes = [
            f"{key}: {_shape(here)} in the model, {_shape(there)} in the file" for key, here, there in self.mis_shaped
        ]
        lists = (
            _listing("missing from the file", self.missing),
            _listing("in the file but not in the model", self.unexpected),
            _listing("of another shape", shapes),
        )
        return "\n".join(line for lines in lists for line in lines)


def key_report(model_state: Mapping[str, Tensor], file_state: Mapping[str, Tensor]) -> KeyReport:
    """Compare the keys and shapes of a model with those of a file."""
    return KeyReport(
        missing=tuple(key for key in model_state if key not in file_state),
        unexpected=tuple(key for key in file_state if key not in model_state),
        mis_shaped=tuple(
            (key, tuple(tensor.shape), tuple(file_state[key].shape))
            for key, tensor in model_state.items()
            if key in file_state and file_state[key].shape != tensor.shape
        ),
    )


def load_strict(module: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Copy tensors into a module; every key and shape has to fit.

    Args:
        module: the model.
        state: the tensors.
        source: where they come from, for the error.

    Raises:
        WeightsError: with a report of the keys that do not fit, or weights that are no floats; the module is then as it
            was.
    """
    refuse_misfit(state, module.state_dict(), source=source, model=type(module).__name__)
    module.load_state_dict(dict(state))


def refuse_misfit(state: Mapping[str, Tensor], model_state: Mapping[str, Tensor], *, source: str, model: str) -> None:
    """Refuse tensors whose keys, shapes or number formats are not those of a model.

    Args:
        state: the tensors of a file.
        model_state: those of the model; they may be without content, on the device `meta`.
        source: where the tensors come from, for the error.
        model: name of the model, for the error.

    Raises:
        WeightsError: with a report of the keys that do not fit, or weights that are no floats.
    """
    refuse_other_than_floats(state, model_state, source=source)
    report = key_report(model_state, state)
    if not report.ok:
        raise WeightsError(f"{source} does not fit the model ({model}). Give weights of this very model.\n{report}")


def refuse_other_than_floats(state: Mapping[str, Tensor], model_state: Mapping[str, Tensor], *, source: str) -> None:
    """Refuse integers, booleans and packed or quantised numbers where a model has floats: copied, they mean nothing.

    Args:
        state: the tensors of a file.
        model_state: those of the model; what it does not have is not looked at.
        source: where the tensors come from, for the error.

    Raises:
        WeightsError: names the first such tensor and its number format.
    """
    wrong = [
        name
        for name, tensor in state.items()
        if name in model_state and model_state[name].is_floating_point() and tensor.dtype not in _FLOATS
    ]
    if wrong:
        raise WeightsError(
            f"{source} holds {wrong[0]} as {str(state[wrong[0]].dtype).removeprefix('torch.')}"
            f" ({len(wrong)} tensors of such formats), and the model computes with floats: give weights in"
            " float32, float16 or bfloat16. Convert quantised or packed weights with the program that made them."
        )


def _check_file(path: Path) -> None:
    """Refuse what cannot be a weights file, with the reason."""
    if path.is_dir():
        raise WeightsError(f"{path} is a folder; expected one weights file: give the .safetensors or .pth file in it.")
    if not path.is_file():
        raise WeightsError(f"{path} does not exist. Expected a weights file; check the path.")
    if not path.name.endswith((".safetensors", *TORCH_SUFFIXES)):
        raise WeightsError(
            f"{path} is of no known kind. Expected a file ending in .safetensors, {', '.join(TORCH_SUFFIXES)}:"
            " rename it if it is one, or convert it to .safetensors."
        )
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror}). Expected a weights file that this user may read."
        ) from error
    if not start:
        raise WeightsError(f"{path} is empty (0 bytes). {_AGAIN}")
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path} is a Git LFS pointer, not the weights. Fetch them with `git lfs pull`, or"
            " download the file itself."
        )
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(
            f"{path} is a web page, not weights: the download gave an error or a login page. Download the file itself."
        )


def _read_torch(path: Path) -> Any:
    try:
        is_zip = zipfile.is_zipfile(path)
        if is_zip and _is_torchscript(path):
            raise WeightsError(f"{path} is a TorchScript archive: it holds a program, and none is run here. {_CONVERT}")
        # Training checkpoints often keep their command-line options, which are plain values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except WeightsError:
        raise
    except MemoryError as error:
        raise WeightsError(f"{path} does not fit into the memory, or is damaged. {_AGAIN}") from error
    except Exception as error:  # on damaged files zipfile and torch raise errors of nearly every type
        code = _code_in(path, error)
        if code:
            raise WeightsError(
                f"{path} is a pickle that holds more than tensors ({code}), and no code of a file is run here."
                f" {_CONVERT}"
            ) from error
        reason = first_line(error).partition(" This file can")[0]
        raise WeightsError(f"{path} is damaged, truncated, or not a file of torch.save ({reason}). {_AGAIN}") from error


def _code_in(path: Path, error: Exception) -> str:
    """What the weights-only unpickler refused to run; empty for a damaged file."""
    asked = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if asked:
        return f"it asks for {asked[1]}"
    with path.open("rb") as file:
        start = file.read(2)
    # torch.save writes protocol 2; the unpickler does not know newer ones, which come from elsewhere.
    return "Python objects" if start[:1] == b"\x80" and start[1:] in (b"\3", b"\4", b"\5") else ""


def _is_torchscript(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(Path(name).name == "constants.pkl" for name in archive.namelist())


def _dig(loaded: Any, path: Path) -> dict[str, Tensor]:
    place = ""
    while not _is_state_dict(loaded):
        name = _entry(loaded, path)
        if name is None:
            found = f"keys {_shortened(loaded)}" if isinstance(loaded, Mapping) else f"a {type(loaded).__name__}"
            raise WeightsError(
                f"{path} holds {found}{place}. Expected a state dict (names and tensors), by itself or under exactly"
                f" one of {', '.join(name for names in _NESTINGS for name in names)}. Save the state dict alone."
            )
        place = f" under {name}"
        loaded = loaded[name]
    return {key: tensor.detach() for key, tensor in loaded.items()}


def _entry(loaded: Any, path: Path) -> str | None:
    """The entry in which the state dict is; None where none or more than one may be it."""
    if not isinstance(loaded, Mapping):
        return None
    full = [[name for name in names if _leads_to_state_dict(loaded.get(name))] for names in _NESTINGS]
    names = next(filter(None, full), [])
    if not names:  # what is wrong is further inside
        names = [name for group in _NESTINGS for name in group if isinstance(loaded.get(name), Mapping)]
    if len(names) == 1 and (others := [name for group in full for name in group if name != names[0]]):
        _log.warning("%s holds %s and %s: %s is taken.", path, names[0], " and ".join(others), names[0])
    return names[0] if len(names) == 1 else None


def _leads_to_state_dict(loaded: Any) -> bool:
    if not isinstance(loaded, Mapping):
        return False
    inner = (loaded.get(name) for names in _NESTINGS for name in names)
    return _is_state_dict(loaded) or any(map(_leads_to_state_dict, inner))


def _is_state_dict(loaded: Any) -> bool:
    if not isinstance(loaded, Mapping) or not loaded:
        return False
    return all(isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items())


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((prefix for prefix in _PREFIXES if all(key.startswith(prefix) for key in state)), None):
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _listing(title: str, entries: tuple[str, ...] | list[str], limit: int = 8) -> list[str]:
    if not entries:
        return []
    more = [f"    and {len(entries) - limit} more"] if len(entries) > limit else []
    return [f"{len(entries)} {title}:", *(f"    {entry}" for entry in entries[:limit]), *more]


def _shortened(keys: Mapping[Any, Any], limit: int = 8) -> str:
    names = ", ".join(str(key) for key in list(keys)[:limit])
    return f"{names}, ... ({len(keys)} in all)" if len(keys) > limit else names or "(none)"


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(str(size) for size in shape)})"
