"""Checkpoints of a run: written whole or not at all, the newest good one found again."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dvt.errors import TrainingError
from dvt.files import TEMP_SUFFIX, write_atomic
from dvt.weights.checkpoint import checkpoint_paths, settings_in, step_of

ABANDONED = "abandoned"
"""Below it: checkpoints of later steps than the one that a run was resumed from."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes aside, flushes to the disk, then renames: a crash leaves the checkpoints before it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Raises:
            DiskError: the disk is full or refuses.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(Path(path), buffer.getvalue())


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that could be read."""

    path: Path
    """The file."""
    step: int
    """Updates done."""
    settings: dict[str, Any]
    """The settings of the run that wrote it."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what a checkpoint says of itself. No code in the file is run.

    Raises:
        TrainingError: it is missing, damaged, or not a checkpoint of ours.
    """
    if not path.is_file():
        raise TrainingError(f"there is no checkpoint {path}: give resume=auto, or the path of a .ckpt file.")
    try:
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:  # torch looks at no checksum
                raise ValueError(f"the checksum of {damaged} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except MemoryError:
        raise
    except Exception as error:  # on damaged files torch raises errors of nearly every type
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise TrainingError(f"the checkpoint {path} is damaged ({reason}): give another one.") from error
    settings = settings_in(content)
    if settings is None or "global_step" not in content:
        raise TrainingError(f"{path} is not a checkpoint of a training run of dvt: give one from <out>/checkpoints.")
    return Checkpoint(path=path, step=int(content["global_step"]), settings=settings)


def newest_good(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that can be read, and why newer ones cannot.

    Raises:
        TrainingError: there are checkpoints, and none of them can be read.
    """
    reasons: list[str] = []
    for path in checkpoint_paths(folder):
        try:
            return read_checkpoint(path), reasons
        except TrainingError as error:
            reasons.append(str(error))
    if reasons:
        raise TrainingError(
            "no checkpoint of the run can be read:\n  " + "\n  ".join(reasons) + f"\nDelete {folder} to begin again."
        )
    return None, []


def tidy(folder: Path, step: int) -> None:
    """Make way for a run that begins at a step.

    What a killed process left half-written is deleted. Checkpoints of later steps, of a run that is not continued, are
    set aside into `<folder>/abandoned`: they would be taken for the newest ones.
    """
    for leftover in folder.glob(f".step-*{TEMP_SUFFIX}"):
        leftover.unlink(missing_ok=True)
    for path in checkpoint_paths(folder):
        if step_of(path) > step:
            (folder / ABANDONED).mkdir(exist_ok=True)
            path.replace(folder / ABANDONED / path.name)


def remove_old(folder: Path, keep: int) -> None:
    """Delete all but the newest checkpoints."""
    for path in checkpoint_paths(folder)[keep:]:
        path.unlink(missing_ok=True)
