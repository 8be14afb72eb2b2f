"""From what the person wrote to a file or a model folder on this machine."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from dvt.errors import WeightsError
from dvt.weights.folder import is_model_folder
from dvt.weights.hf_hub import fetch_file, reason_of
from dvt.weights.local import HOME_VARIABLE, find_in, find_local, local_folders, local_names
from dvt.weights.publish import fetch_model
from dvt.weights.read_file import TORCH_SUFFIXES
from dvt.weights.released import RECIPES, RELEASED, REPOSITORY, Released, nearest, timm_spelling

HUB_PREFIX = "hf:"
"""Says that what follows is a repository on the Hugging Face hub, and nothing else."""

_OWNER_AND_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Found:
    """Weights on this machine."""

    path: Path
    """A model folder, or a file."""
    source: str
    """What the person wrote."""
    released: Released | None = None
    """Which of the authors' files it is, where the name says so."""


def find(source: str | Path, *, distilled: bool | None = None) -> Found:
    """Find weights: an existing path, a name in a local folder, a name of the authors, a repository on the hub.

    Args:
        source: what the person wrote.
        distilled: whether a whole ViT or a denoiser will do; None: both. Looked at before anything is downloaded.

    Raises:
        WeightsError: there is no such file or name, or it cannot be fetched.
    """
    text = str(source)
    if text.startswith(HUB_PREFIX):
        return Found(fetch_model(text.removeprefix(HUB_PREFIX)), text)
    path = Path(source).expanduser()
    if path.exists():
        return Found(path, text)
    if isinstance(source, Path) or _looks_like_a_path(text):
        raise WeightsError(f"{text} does not exist. Expected a weights file or the folder of a model; check the path.")
    name = timm_spelling(text)
    row = RELEASED.get(name)
    if row is not None and distilled is not None and row.is_distilled is not distilled:
        raise WeightsError(_other_kind(row))
    local = find_local(name) or find_local(text)
    if local is not None:
        return Found(local, text, None if is_model_folder(local) else row)
    if row is not None:
        return Found(_fetch(row), text, row)
    if text.partition("/")[0] in RECIPES or not _OWNER_AND_NAME.fullmatch(text):
        raise WeightsError(unknown(text))
    try:
        return Found(fetch_model(text), text)
    except WeightsError as error:
        raise WeightsError(f"{unknown(text)}\nTaken for a repository on the Hugging Face hub: {error}") from error


def find_for(weights: str | Path, timm_name: str) -> Found:
    """As `find`, where a recipe or a folder of files stands for its file for one ViT.

    Args:
        weights: what the person wrote: a recipe such as `voc_denoised`, or anything that `find` takes.
        timm_name: the ViT.

    Raises:
        WeightsError: as `find`.
    """
    text, path = str(weights), Path(weights).expanduser()
    if path.is_dir() and not is_model_folder(path):
        inside = find_in(path, timm_name)
        if inside is not None:
            return Found(inside, text)
    is_recipe = isinstance(weights, str) and not path.exists() and "/" not in text and not _looks_like_a_path(text)
    if is_recipe and not text.startswith(HUB_PREFIX) and find_local(text) is None:
        if text not in RECIPES and find_local(f"{text}/{timm_name}") is None:
            raise WeightsError(unknown(text))
        return find(f"{text}/{timm_name}")
    return find(weights)


def unknown(name: str) -> str:
    """That nothing is called so, and what is."""
    near = nearest(name, [*RELEASED, *local_names()])
    hint = f"Nearest names: {', '.join(near)}." if near else f"Names begin with {', '.join(RECIPES)}."
    return (
        f"there is no file, folder or released denoiser {name!r}. {hint} All of them: dvt.list_denoisers(), or on the"
        " command line: dvt convert list."
    )


def _looks_like_a_path(text: str) -> bool:
    beginnings = (".", "~", os.sep)
    return text.endswith((".safetensors", *TORCH_SUFFIXES)) or text.startswith(beginnings) or "\\" in text


def _other_kind(row: Released) -> str:
    model = timm_spelling(row.name).rpartition("/")[2]
    if row.is_distilled:
        return (
            f"{row.name} is a whole ViT that was distilled, not a denoiser. Load it with"
            f" dvt.load_denoised({model!r}, weights={row.recipe!r})."
        )
    return f"{row.name} is a denoiser, not a whole ViT. Load it with dvt.load_denoiser({row.name!r})."


def _fetch(row: Released) -> Path:
    try:
        return fetch_file(REPOSITORY, (row.file,))
    except Exception as error:  # each huggingface_hub raises the errors of another HTTP library
        home = os.environ.get(HOME_VARIABLE)
        place = (Path(home) if home else Path("checkpoints")) / row.file
        other = "" if home else f", or below a folder that {HOME_VARIABLE} names"
        doubt = "" if row.seen else " The authors' table names this model; that its file is there was never checked."
        raise WeightsError(
            f"the weights {row.name} could not be fetched: file {row.file} of {REPOSITORY} on the Hugging Face hub"
            f" ({reason_of(error)}).{doubt} Check the connection and try again, or download it elsewhere"
            f" (https://huggingface.co/{REPOSITORY}/resolve/main/{row.file}) and put it at {place}{other}. Looked for"
            f" in: {', '.join(str(folder) for folder in local_folders())}."
        ) from error
