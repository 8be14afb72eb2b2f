"""Where a run begins: from nothing, or from a checkpoint whose settings are those of the run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvt.errors import TrainingError, WeightsError
from dvt.files import disk_errors
from dvt.progress import Reporter
from dvt.spec import differences
from dvt.store import is_store
from dvt.training.checkpoints import Checkpoint, newest_good, read_checkpoint
from dvt.training.processes import is_main_process
from dvt.weights.checkpoint import CHECKPOINTS, checkpoint_paths
from dvt.weights.folder import is_model_folder, read_model_info
from dvt.weights.info import KINDS

_FIXED = ("denoiser.", "student.trained_blocks", "features.")
"""Settings that cannot change while a run goes on: the weights would not fit, or belong to other features."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run begins."""

    checkpoint: Path | None
    """None: from nothing."""
    step: int
    """Updates done already."""
    notes: tuple[str, ...]
    """What the user should know: damaged checkpoints that were passed over, settings that changed."""

    def report(self, summary: str, reporter: Reporter) -> None:
        """Show the notes and a line about the run; the main process alone does."""
        if not is_main_process():
            return
        for note in self.notes:
            reporter.note(note)
        reporter.note(summary + (f", continuing at step {self.step}" if self.step else ""))


def claim_folder(out: Path, kind: str) -> None:
    """Make the folder of a run, and refuse one in which something else would be overwritten.

    Args:
        out: folder of the run.
        kind: of the model that the run will publish there, one of `dvt.weights.info.KINDS`.

    Raises:
        TrainingError: it is a file or a feature store, or holds a model that does not come from a run of this kind.
        WeightsError: it holds a model whose `config.json` is damaged, and no run that would write it anew.
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
                return  # the run writes it anew
            raise
        if info.kind != kind or not has_run:
            raise TrainingError(
                f"out={out} holds {KINDS[info.kind]} of {info.spec.backbone}, and no run that could be continued into"
                f" {KINDS[kind]}: give another out, or delete it."
            )
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)


def find_start(resume: str, folder: Path, settings: dict[str, Any], *, allow_changes: bool) -> Start:
    """Decide where a run begins.

    Args:
        resume: auto, none, or the path of a checkpoint.
        folder: where the checkpoints of the run lie.
        settings: what the run is about to do, as plain JSON.
        allow_changes: accept a checkpoint that was made with other settings.

    Raises:
        TrainingError: a run is there and `none` was asked for, no checkpoint can be read, it belongs to
            another stage, or the settings differ.
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
        found, notes = read_checkpoint(Path(resume).expanduser()), []
    notes = [*notes, f"continuing from {found.path}, step {found.step}"] if notes else notes
    if found.settings.get("stage") != settings.get("stage"):
        raise TrainingError(
            f"{found.path} belongs to a run of dvt {found.settings.get('stage')}, not of dvt {settings.get('stage')}:"
            " give another out."
        )
    changes = differences(found.settings, settings, "checkpoint", "request")
    if changes and not allow_changes:
        raise TrainingError(_refusal(found, changes))
    if fixed := [change for change in changes if change.startswith(_FIXED)]:
        lines = "".join(f"\n  {change}" for change in fixed)
        raise TrainingError(f"{found.path} holds another network:{lines}\nGive the same settings, or another out.")
    if found.step > (num_steps := settings.get("num_steps", found.step)):
        raise TrainingError(
            f"{found.path} is past num_steps={num_steps}: give num_steps={found.step} or more, another out, or with"
            " resume=<path> a checkpoint from before."
        )
    return Start(checkpoint=found.path, step=found.step, notes=(*notes, *(f"changed: {text}" for text in changes)))


def _refusal(found: Checkpoint, changes: list[str]) -> str:
    lines = "".join(f"\n  {change}" for change in changes)
    return (
        f"the run in {found.path.parent} (step {found.step}) was made with other settings:{lines}\n"
        "Give the same settings, another out, or allow_changes=true to go on with the new ones."
    )
