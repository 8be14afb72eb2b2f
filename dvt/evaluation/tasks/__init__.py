"""The tasks by name, one file each. Light: a task is imported when it is made."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dvt.errors import ConfigError

if TYPE_CHECKING:
    from dvt.evaluation.task import Task

TASKS: Final = {
    "linear_segmentation": ("dvt.evaluation.tasks.linear_segmentation", "LinearSegmentation"),
    "knn_segmentation": ("dvt.evaluation.tasks.knn_segmentation", "KnnSegmentation"),
    "linear_depth": ("dvt.evaluation.tasks.linear_depth", "LinearDepth"),
    "object_discovery": ("dvt.evaluation.tasks.object_discovery", "ObjectDiscovery"),
    "saliency": ("dvt.evaluation.tasks.saliency", "Saliency"),
    "video_segmentation": ("dvt.evaluation.tasks.video_segmentation", "VideoSegmentation"),
    "retrieval": ("dvt.evaluation.tasks.retrieval", "Retrieval"),
    "artifact_scores": ("dvt.evaluation.tasks.artifact_scores", "ArtifactScores"),
}
"""Name of a task -> its module and class. The options of a task stand under its name."""


def make_task(name: str, config: Any, data: str | Path) -> "Task":
    """Make a task; its data are found and checked.

    Args:
        name: one of `TASKS`.
        config: its options.
        data: folder of its data.

    Raises:
        ConfigError: no such task, or options that do not go together.
        EvaluationError: the data are missing or do not fit together.
    """
    if name not in TASKS:
        raise ConfigError(f"there is no task {name!r}: give one of {', '.join(TASKS)}.")
    module, kind = TASKS[name]
    task: Task = getattr(import_module(module), kind)(config, Path(data).expanduser())
    return task
