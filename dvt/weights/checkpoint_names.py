"""How the checkpoints of a run are called. Needs no Lightning: who only loads weights looks here."""

import re
from pathlib import Path

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints below the output folder."""

_NAME = re.compile(r"step-(\d+)\.ckpt")


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step goes."""
    return folder / f"step-{step:08d}.ckpt"


def checkpoint_paths(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    return sorted((path for path in folder.glob("step-*.ckpt") if _NAME.fullmatch(path.name)), reverse=True)


def step_of(path: Path) -> int:
    """Updates done at a checkpoint, by its name."""
    match = _NAME.fullmatch(path.name)
    assert match is not None, path
    return int(match[1])
