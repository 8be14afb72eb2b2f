"""Weights on this machine, in folders laid out like the authors' repository: `<folder>/<recipe>/<timm name>.pth`."""

import os
from pathlib import Path

from dvt.shipped import shipped
from dvt.weights.folder import is_model_folder

HOME_VARIABLE = "DVT_HOME"
"""Names a folder of weights that is looked at first."""

_SUFFIXES = (".pth", ".safetensors")


def local_folders() -> list[Path]:
    """Where weights are looked for: `$DVT_HOME`, `./checkpoints`, and those that come with dvt."""
    home = os.environ.get(HOME_VARIABLE)
    folders = [Path(home).expanduser()] if home else []
    folders.append(Path("checkpoints"))
    folders.append(shipped("checkpoints"))
    return list({folder.resolve(): folder for folder in folders}.values())


def find_local(name: str) -> Path | None:
    """The model folder or the file of that name below the first local folder that has one."""
    for folder in local_folders():
        found = find_in(folder, name)
        if found is not None:
            return found
    return None


def find_in(folder: Path, name: str) -> Path | None:
    """The model folder or the file of that name below a folder."""
    path = folder / name
    if is_model_folder(path):
        return path
    return next((file for suffix in _SUFFIXES if (file := path.with_name(path.name + suffix)).is_file()), None)


def local_names() -> dict[str, Path]:
    """The names that `find_local` finds, `<name>` and `<recipe>/<name>`, with their places."""
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
