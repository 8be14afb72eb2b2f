"""Checkpoints of a run: atomic writes, the newest good one, and the decision where a run starts."""

import inspect
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dvt.errors import TrainingError, WeightsError, first_line
from dvt.files import TEMP_SUFFIX, disk_errors, write_atomic
from dvt.one_writer import LOCK, one_writer
from dvt.paths import expand_home
from dvt.progress import Reporter
from dvt.settings import differences
from dvt.store import is_store
from dvt.training.processes import is_main_process
from dvt.weights.checkpoint import CHECKPOINTS, checkpoint_paths, settings_in, step_of
from dvt.weights.folder import is_model_folder, read_model_info
from dvt.weights.info import KINDS

P = ParamSpec("P")
T = TypeVar("T")

ABANDONED = "abandoned"
"""Folder of checkpoints that are newer than the one a run was resumed from."""
_FIXED = (
    "denoiser.", "adversary.channels", "adversary.num_blocks", "student.trained_blocks", "student.layers",
    "student.keep:", "features.",
)  # fmt: skip
"""Settings that can never change within a run: the weights would not fit, or would be for other features."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a temporary file, flushes and renames it: a crash leaves the checkpoints before it."""

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
    """Settings of the run that wrote it."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the step and the settings of a checkpoint. No code in the file is run.

    Raises:
        TrainingError: it is missing, damaged, or not a checkpoint of dvt.
    """
    if not path.is_file():
        raise TrainingError(f"there is no checkpoint {path}: give resume=auto, or the path of a .ckpt file.")
    try:
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:  # torch checks no checksum
                raise ValueError(f"the checksum of {damaged} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except MemoryError:
        raise
    except Exception as error:  # torch raises errors of nearly every type on damaged files
        raise TrainingError(f"the checkpoint {path} is damaged ({first_line(error)}): give another one.") from error
    settings = settings_in(content)
    if settings is None or "global_step" not in content:
        raise TrainingError(f"{path} is not a checkpoint of a training run of dvt: give one from <out>/checkpoints.")
    return Checkpoint(path=path, step=int(content["global_step"]), settings=settings)


def newest_good(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that can be read, and why newer ones cannot.

    Raises:
        TrainingError: there are checkpoints, and none can be read.
    """
    reasons: list[str] = []
    for path in checkpoint_paths(folder):
        try:
            return read_checkpoint(path), reasons
        except TrainingError as error:
            reasons.append(str(error))
    if reasons:
        raise TrainingError(
            "no checkpoint of the run can be read:\n  " + "\n  ".join(reasons) + f"\nDelete {folder} to start again."
        )
    return None, []


def tidy(folder: Path, step: int) -> None:
    """Prepare the folder for a run that starts at a step.

    Half-written files of a killed process are deleted. Checkpoints of later steps move to `<folder>/abandoned`;
    otherwise a later resume would take them for the newest ones.
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


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run starts."""

    checkpoint: Path | None
    """None: from the first weights."""
    step: int
    """Updates done already."""
    notes: tuple[str, ...]
    """Notes for the user: damaged checkpoints that were skipped, settings that changed."""

    def report(self, summary: str, reporter: Reporter) -> None:
        """Show the notes and a line about the run, in the main process only."""
        if not is_main_process():
            return
        for note in self.notes:
            reporter.note(note)
        reporter.note(summary + (f", continuing at step {self.step}" if self.step else ""))


def find_start(resume: str, folder: Path, settings: dict[str, Any], *, allow_changes: bool) -> Start:
    """Decide where a run starts.

    Args:
        resume: auto, none, or the path of a checkpoint.
        folder: folder of the run's checkpoints.
        settings: settings of the run that is about to start, as plain JSON.
        allow_changes: accept a checkpoint that was made with other settings.

    Raises:
        TrainingError: a run exists and resume is `none`, no checkpoint can be read, the checkpoint belongs to another
            stage, or the settings differ.
    """
    if resume == "none":
        if checkpoint_paths(folder):
            raise TrainingError(
                f"{folder.parent} holds a run already. Continue it with resume=auto, give another out, or delete it."
            )
        return Start(checkpoint=None, step=0, notes=())
    if resume == "auto":
        found, notes = newest_good(folder)
        if found is None:
            return Start(checkpoint=None, step=0, notes=())
    else:
        found, notes = read_checkpoint(expand_home(resume)), []
    notes = [*notes, f"continuing from {found.path}, step {found.step}"] if notes else notes
    if found.settings.get("stage") != settings.get("stage"):
        raise TrainingError(
            f"{found.path} belongs to a run of dvt {found.settings.get('stage')}, not of dvt {settings.get('stage')}:"
            " give another out."
        )
    changes = differences(found.settings, settings, "checkpoint", "request")
    if changes and not allow_changes:
        lines = "".join(f"\n  {change}" for change in changes)
        raise TrainingError(
            f"the run in {found.path.parent} (step {found.step}) was made with other settings:{lines}\n"
            "Give the same settings, another out, or allow_changes=true to go on with the new ones."
        )
    if fixed := [change for change in changes if change.startswith(_FIXED)]:
        lines = "".join(f"\n  {change}" for change in fixed)
        raise TrainingError(f"{found.path} holds another network:{lines}\nGive the same settings, or another out.")
    if found.step > (num_steps := settings.get("num_steps", found.step)):
        raise TrainingError(
            f"{found.path} is past num_steps={num_steps}: give num_steps={found.step} or more, another out, or with"
            " resume=<path> a checkpoint from before."
        )
    return Start(checkpoint=found.path, step=found.step, notes=(*notes, *(f"changed: {text}" for text in changes)))


def one_run(function: Callable[P, T]) -> Callable[P, T]:
    """Let a run of training be the only one in its folder `out`: another process is refused while this one lives.

    Only the first of several processes of a training holds the lock; ConfigError says who has it.
    """
    parameters = inspect.signature(function)

    @wraps(function)
    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        out = Path(parameters.bind(*args, **kwargs).arguments["out"])
        if not is_main_process() or (out.exists() and not out.is_dir()):  # a file is refused by `claim_folder`
            return function(*args, **kwargs)
        with one_writer(out / LOCK, out):
            return function(*args, **kwargs)

    return alone


def claim_folder(out: Path, kind: str) -> None:
    """Make the folder of a run; refuse one in which something else would be overwritten.

    Args:
        out: folder of the run.
        kind: of the model that the run will publish there, one of `dvt.weights.info.KINDS`.

    Raises:
        TrainingError: it is a file or a feature store, or holds a model that no run of this kind made.
        WeightsError: it holds a model with a damaged `config.json`, and no run that would write it again.
        DiskError: it cannot be made.
    """
    if out.exists() and not out.is_dir():
        raise TrainingError(f"out={out} is a file: give the name of a folder.")
    if is_store(out):
        raise TrainingError(f"out={out} is a feature store: give another out.")
    has_run = bool(checkpoint_paths(out / CHECKPOINTS))
    if is_model_folder(out):
        try:
            info = read_model_info(out)
        except WeightsError:
            if has_run:
                return  # the run writes it again
            raise
        if info.kind != kind or not has_run:
            raise TrainingError(
                f"out={out} holds {KINDS[info.kind]} of {info.spec.backbone}, and no run that could be continued into"
                f" {KINDS[kind]}: give another out, or delete it."
            )
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
