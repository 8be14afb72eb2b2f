"""What a run was: its settings for comparison, and a record beside its output."""

import json
import time
from dataclasses import asdict, fields
from enum import Enum
from pathlib import Path
from typing import Any

import torch

from dvt.files import write_atomic
from dvt.runtime import environment
from dvt.training.config import TrainingConfig
from dvt.training.resume import Start
from dvt.training.run import Fitted

_NOT_RESULTS = (
    "resume", "allow_changes", "save_every", "keep_checkpoints", "validate_every", "show_every", "log_every",
    "num_workers", "trainer", "logger",
)  # fmt: skip
"""Options that do not change what is learnt."""


def plain(value: Any) -> Any:
    """Nested dataclasses, enums and the like as plain JSON."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


def comparable_settings(config: TrainingConfig, kind: type[TrainingConfig]) -> dict[str, Any]:
    """The options that change the result, as plain JSON: what a resumed run has to share with the one it continues.

    Args:
        config: all options; of the command line there may be more than `kind` has, such as paths.
        kind: the class whose options count.
    """
    options: dict[str, Any] = plain(asdict(config))
    names = [entry.name for entry in fields(kind) if entry.name not in _NOT_RESULTS]
    return {name: options[name] for name in names} | {"precision": options["trainer"]["precision"]}


def write_record(
    out: Path, command: str, config: TrainingConfig, fitted: Fitted, start: Start, device: torch.device
) -> None:
    """Write down a run beside its output: `<out>/runs/<time in UTC>.json`.

    Raises:
        DiskError: the disk is full or refuses.
    """
    folder = out / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "command": command,
        "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "first_step": start.step,
        "last_step": fitted.step,
        "seconds": round(fitted.seconds, 3),
        "interrupted": fitted.interrupted,
        "notes": list(start.notes),
        "metrics": fitted.metrics,
        "config": plain(asdict(config)),
        "environment": environment(device),
    }
    name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + f"-step{fitted.step}.json"
    write_atomic(folder / name, (json.dumps(record, indent=2) + "\n").encode())
