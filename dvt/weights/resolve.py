"""From a name to files on this machine: a path, a local folder, a released file, a repository on the hub."""

import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from dvt.errors import WeightsError, first_line
from dvt.paths import expand_home
from dvt.shipped import shipped
from dvt.weights.folder import is_model_folder, read_model_info
from dvt.weights.hub import fetch_file, fetch_model
from dvt.weights.info import not_a_denoiser
from dvt.weights.read import TORCH_SUFFIXES
from dvt.weights.released import (
    RECIPES,
    RELEASED,
    REPOSITORY,
    Released,
    catalogue_spelling,
    is_distilled,
    nearest,
    timm_spelling,
)

HOME_VARIABLE = "DVT_HOME"
"""Environment variable with a folder of weights that is searched first."""
HUB_PREFIX = "hf:"
"""Marks a name as a repository on the Hugging Face hub."""

_SUFFIXES = (".pth", ".safetensors")
_OWNER_AND_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Found:
    """Weights on this machine."""

    path: Path
    """A model folder, or a file."""
    source: str
    """What the user wrote."""
    released: Released | None = None
    """The row of the authors' files, where the name says so."""


def resolve(source: str | Path, *, distilled: bool | None = None) -> Found:
    """Find weights: an existing path, a name in a local folder, a released name, a repository on the hub.

    Args:
        source: what the user wrote.
        distilled: whether a whole ViT or a denoiser is wanted; None: either. Checked before a download.

    Raises:
        WeightsError: there is no such file or name, or it cannot be downloaded.
    """
    text = str(source)
    if text.startswith(HUB_PREFIX):
        return Found(fetch_model(text.removeprefix(HUB_PREFIX)), text)
    path = expand_home(source)
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
        raise WeightsError(_unknown(text))
    try:
        return Found(fetch_model(text), text)
    except WeightsError as error:
        raise WeightsError(f"{_unknown(text)}\nTaken for a repository on the Hugging Face hub: {error}") from error


def resolve_for(weights: str | Path, timm_name: str) -> Found:
    """As `resolve`; a recipe or a folder of files stands for its file for one ViT.

    Args:
        weights: what the user wrote: a recipe such as `voc_denoised`, or anything that `resolve` takes.
        timm_name: the ViT.

    Raises:
        WeightsError: as `resolve`.
    """
    text, path = str(weights), expand_home(weights)
    if path.is_dir() and not is_model_folder(path):
        inside = _find_in(path, timm_name)
        if inside is not None:
            return Found(inside, text)
    is_recipe = isinstance(weights, str) and not path.exists() and "/" not in text and not _looks_like_a_path(text)
    if is_recipe and not text.startswith(HUB_PREFIX) and find_local(text) is None:
        if text not in RECIPES and find_local(f"{text}/{timm_name}") is None:
            raise WeightsError(_unknown(text))
        return resolve(f"{text}/{timm_name}")
    return resolve(weights)


def list_denoisers(pattern: str = "*", *, distilled: bool = False) -> list[str]:
    """Names that `load_denoiser` takes: released files, and files in local folders.

    Args:
        pattern: as for file names, such as `*dinov2*`; compared with the timm spelling and the catalogue's
            (`voc_denoised/dinov2_base`, or `dinov2_base` alone).
        distilled: list whole ViTs instead, which `load_denoised` takes.

    Raises:
        WeightsError: a model folder in a local folder is damaged.

    Examples:
        >>> list_denoisers("imgnet*")
        ['imgnet_denoised/vit_base_patch14_dinov2.lvd142m']
    """
    released = [name for name, row in RELEASED.items() if row.is_distilled is distilled]
    local = [timm_spelling(name) for name, path in local_names().items() if _is_distilled(name, path) is distilled]
    return [name for name in dict.fromkeys([*released, *local]) if _fits(name, pattern)]


def local_folders() -> list[Path]:
    """Folders that are searched, laid out as the authors' repository (`<recipe>/<timm name>.pth`).

    `$DVT_HOME`, `./checkpoints`, and the folder that ships with dvt.
    """
    home = os.environ.get(HOME_VARIABLE)
    folders = [expand_home(home)] if home else []
    folders += [Path("checkpoints"), shipped("checkpoints")]
    return list({folder.resolve(): folder for folder in folders}.values())


def find_local(name: str) -> Path | None:
    """The model folder or file of that name, in the first local folder that has one."""
    return next((found for folder in local_folders() if (found := _find_in(folder, name)) is not None), None)


def local_names() -> dict[str, Path]:
    """The names that `find_local` finds, `<name>` and `<recipe>/<name>`, with their paths."""
    found: dict[str, Path] = {}
    for folder in local_folders():
        for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
            suffix = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix) and path.is_file()), None)
            if suffix is None and not is_model_folder(path):
                continue
            if suffix is not None and is_model_folder(path.parent):
                continue  # the weights of a model folder
            found.setdefault(path.relative_to(folder).as_posix().removesuffix(suffix or ""), path)
    return found


def _find_in(folder: Path, name: str) -> Path | None:
    path = folder / name
    if is_model_folder(path):
        return path
    return next((file for suffix in _SUFFIXES if (file := path.with_name(path.name + suffix)).is_file()), None)


def _is_distilled(name: str, path: Path) -> bool | None:
    """Whether local weights are a whole ViT: a model folder says so; of a file the name of its folder; None: neither.

    An exported backbone is no denoiser, and not the ViT alone.
    """
    if is_model_folder(path):
        return {"distilled": True, "denoised": True, "denoiser": False}.get(read_model_info(path).kind)
    return is_distilled(name.partition("/")[0])


def _fits(name: str, pattern: str) -> bool:
    short = catalogue_spelling(name)
    return any(fnmatchcase(each, pattern) for each in (name, short, short.rpartition("/")[2]))


def _looks_like_a_path(text: str) -> bool:
    beginnings = (".", "~", os.sep)
    return text.endswith((".safetensors", *TORCH_SUFFIXES)) or text.startswith(beginnings) or "\\" in text


def _unknown(name: str) -> str:
    near = nearest(name, [*RELEASED, *local_names()])
    hint = f"Nearest names: {', '.join(near)}." if near else f"Names begin with {', '.join(RECIPES)}."
    return (
        f"there is no file, folder or released denoiser {name!r}. {hint} All of them: dvt.list_denoisers(), or on the"
        " command line: dvt convert list."
    )


def _other_kind(row: Released) -> str:
    model = timm_spelling(row.name).rpartition("/")[2]
    if row.is_distilled:
        return not_a_denoiser(row.name, f"dvt.load_denoised({model!r}, weights={row.recipe!r})")
    return f"{row.name} is a denoiser, not a whole ViT. Load it with dvt.load_denoiser({row.name!r})."


def _fetch(row: Released) -> Path:
    """Download a released file, or take it from the cache.

    Raises:
        WeightsError: the hub cannot be reached; with the places where the file may be put by hand.
    """
    try:
        return fetch_file(REPOSITORY, (row.file,))
    except Exception as error:  # huggingface_hub raises errors of its HTTP library
        home = os.environ.get(HOME_VARIABLE)
        place = (Path(home) if home else Path("checkpoints")) / row.file
        other = "" if home else f", or below a folder that {HOME_VARIABLE} names"
        doubt = "" if row.seen else " The authors' table names this model; that its file exists was never checked."
        kind = "distilled ViT" if row.is_distilled else "denoiser"
        raise WeightsError(
            f"the {kind} {row.name} could not be fetched: file {row.file} of {REPOSITORY} on the Hugging Face hub"
            f" ({first_line(error)}).{doubt} Check the connection and try again, or download it elsewhere"
            f" (https://huggingface.co/{REPOSITORY}/resolve/main/{row.file}) and put it at {place}{other}. Looked for"
            f" in: {', '.join(str(folder) for folder in local_folders())}."
        ) from error
