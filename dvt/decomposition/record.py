"""What is written down of a run over a list of images."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dvt.backbone.backbone import Backbone
from dvt.decomposition.config import DecomposeConfig
from dvt.decomposition.progress import Progress
from dvt.runtime import environment
from dvt.srt.config import EnsembleConfig


def about(backbone: Backbone) -> dict[str, Any]:
    """The ViT, and the machine that it runs on."""
    return {
        "backbone": {"name": backbone.name, "timm": backbone.timm_name, "weights_hash": backbone.weights_hash},
        "environment": environment(backbone.device),
    }


def run_record(
    progress: Progress,
    worked_with: Mapping[str, Any],
    config: DecomposeConfig | EnsembleConfig,
    *,
    seed: int,
    worker: str,
    started: float,
) -> dict[str, Any]:
    """What a run did, with what, in which time: plain JSON.

    Args:
        progress: where it ended.
        worked_with: what `about` says of the ViT and the machine, and more.
        config: how an image was decomposed.
        seed: of the run.
        worker: how the run signs its files.
        started: when it began, in seconds since 1970.
    """
    return {
        "command": "decompose",
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
        "seconds_by_part": {name: round(value, 3) for name, value in progress.seconds.items()},
        "images": progress.total,
        "skipped": progress.skipped,
        "done": progress.done,
        "failed": progress.failed,
        "interrupted": progress.interrupted,
        "crash": progress.crash,
        "damaged": progress.damaged,
        "config": asdict(config),
        "seed": seed,
        "shard": worker,
        **worked_with,
    }
