"""Outcome of a run over a list of images, and the run record in a store."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dvt.backbone.backbone import Backbone
from dvt.decomposition.config import DecomposeConfig
from dvt.runtime import environment
from dvt.srt.config import SrtConfig


@dataclass(slots=True)
class Outcome:
    """Counts, failures and times of a run over a list of images; complete when the run ends."""

    total: int
    """Images of this part of the list."""
    skipped: int = 0
    """Already in the store, verified."""
    done: int = 0
    """Decomposed in this run."""
    failed: dict[str, str] = field(default_factory=dict)
    """Key and reason of each image that failed."""
    damaged: list[str] = field(default_factory=list)
    """Damaged shards of the store, each with the reason; their images are decomposed again."""
    interrupted: bool = False
    """Whether the run was stopped before its end."""
    crash: str = ""
    """The error that ended the run or a part of it; empty if none did."""
    seconds: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "extract": 0.0, "solve": 0.0})
    """Seconds by kind of work, summed over workers."""

    @property
    def left(self) -> int:
        """Images neither skipped, done nor failed."""
        return self.total - self.skipped - self.done - len(self.failed)

    def add_seconds(self, seconds: Mapping[str, float]) -> None:
        """Add times by kind of work."""
        for part, spent_s in seconds.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + spent_s

    def add_part(self, part: "Outcome") -> None:
        """Add the outcome of a part of these images; `total` includes them already."""
        self.skipped += part.skipped
        self.done += part.done
        self.failed |= part.failed
        self.damaged += [reason for reason in part.damaged if reason not in self.damaged]
        self.interrupted |= part.interrupted
        self.crash = "\n".join(filter(None, (self.crash, part.crash)))
        self.add_seconds(part.seconds)


def about(backbone: Backbone) -> dict[str, Any]:
    """The ViT and the machine it runs on, for `run_record`."""
    return {
        "backbone": {
            "name": backbone.name,
            "timm": backbone.full_name,
            "weights": backbone.weights_file,
            "weights_hash": backbone.weights_hash,
        },
        "environment": environment(backbone.device),
    }


def run_record(
    outcome: Outcome,
    worked_with: Mapping[str, Any],
    config: DecomposeConfig | SrtConfig,
    *,
    seed: int,
    worker: str,
    started: float,
) -> dict[str, Any]:
    """The record of a run as plain JSON values.

    Args:
        outcome: outcome of the run.
        worked_with: `about(backbone)` and any further entries.
        config: options of the decomposition or of SRT.
        seed: seed of the run.
        worker: name of the worker, used in its file names.
        started: start of the run, in seconds since 1970.
    """
    return {
        "command": "decompose",
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
        "seconds_by_part": {name: round(value, 3) for name, value in outcome.seconds.items()},
        "images": outcome.total,
        "skipped": outcome.skipped,
        "done": outcome.done,
        "failed": outcome.failed,
        "interrupted": outcome.interrupted,
        "crash": outcome.crash,
        "damaged": outcome.damaged,
        "config": asdict(config),
        "seed": seed,
        "shard": worker,
        **worked_with,
    }
