"""The tasks by name, one file each. Light: a task is imported when it is made."""

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dvt.errors import ConfigError
from dvt.paths import expand_home

if TYPE_CHECKING:
    from dvt.evaluation.task import Task

_CONFIG = "dvt.evaluation.config"

TASKS: Final = {
    "linear_segmentation": ("LinearSegmentation", f"{_CONFIG}.segmentation"),
    "knn_segmentation": ("KnnSegmentation", f"{_CONFIG}.segmentation"),
    "linear_depth": ("LinearDepth", f"{_CONFIG}.depth"),
    "detection": ("Detection", f"{_CONFIG}.detection"),
    "object_discovery": ("ObjectDiscovery", f"{_CONFIG}.objects"),
    "saliency": ("Saliency", f"{_CONFIG}.objects"),
    "video_segmentation": ("VideoSegmentation", f"{_CONFIG}.video"),
    "retrieval": ("Retrieval", f"{_CONFIG}.retrieval"),
    "artifact_scores": ("ArtifactScores", "dvt.diagnosis.config"),
}
"""Name of a task, which is that of its file -> its class, and the module of its options, `<class>Config`."""


def make_task(name: str, config: Any, data: str | Path) -> "Task":
    """Make a task; its data are found and checked.

    Args:
        name: one of `TASKS`.
        config: its options; None for the defaults.
        data: folder of its data.

    Raises:
        ConfigError: no such task, or options that do not go together.
        EvaluationError: the data are missing or do not fit together.
    """
    if name not in TASKS:
        near = [task for task in TASKS if str(name) in task] or get_close_matches(str(name), TASKS, n=2) or TASKS
        raise ConfigError(f"there is no task {name!r}: give {' or '.join(near)}.")
    kind, options = TASKS[name]
    if config is None:
        config = getattr(import_module(options), f"{kind}Config")()
    task: Task = getattr(import_module(f"{__name__}.{name}"), kind)(config, expand_home(data))
    return task
