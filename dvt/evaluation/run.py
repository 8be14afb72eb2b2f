"""evaluate: score methods in a task. Results are written after every method, so a stopped evaluation continues."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dvt.backbone.features import check_model
from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.result import MethodResult, TaskResult
from dvt.evaluation.table import cell, markdown
from dvt.evaluation.task import Task
from dvt.evaluation.tasks import make_task
from dvt.files import disk_errors, plain, write_atomic
from dvt.methods.cache import cached
from dvt.methods.method import Method, Model, OnePass, fingerprint
from dvt.numbers import takes_numbers
from dvt.one_writer import LOCK, one_writer
from dvt.progress import SILENT, Reporter
from dvt.runtime import environment
from dvt.settings import differences
from dvt.torch_state import own_torch_state
from dvt.version import __version__


@takes_numbers
@own_torch_state()
def evaluate(
    task: str | Task,
    methods: Mapping[str, Model] | Sequence[Method],
    data: str | Path,
    config: Any = None,
    *,
    out: str | Path | None = None,
    cache: bool = True,
    backbone: str | None = None,
    device: torch.device | None = None,
    reporter: Reporter = SILENT,
) -> TaskResult:
    """Score methods in a task, one after the other, on the same data in the same way.

    Args:
        task: its name (`dvt.evaluation.tasks.TASKS`), or a task.
        methods: what to compare, the raw features first: models by name, such as
            `{"raw": backbone, "denoised": model}`, or `Method`s.
        data: folder of the data of the task.
        config: options of the task, such as `KnnSegmentationConfig(num_train=40)`; default: its defaults.
        out: folder for `<task>.json` and `<task>.md`, written after every method. A score in it is kept if method and
            version are the same. Scores of another task, other data or another protocol are never replaced.
        cache: keep expensive features (more than 8 passes per image) in `<out>/features`.
        backbone: name of the ViT in the table; default: that of the first method.
        device: device of the ViT, for the record.
        reporter: shows the progress, and the main metric of every method as a note.

    Returns:
        A row per method; `dvt.evaluation.table.markdown(result)` is the table.

    Raises:
        ConfigError: no such task, no method, or two of one name.
        EvaluationError: data are missing; `out` cannot be read, or holds scores measured differently.
        DvtError: the data cannot be read or do not fit.

    Examples:
        >>> import dvt
        >>> from dvt.diagnosis.config import ArtifactScoresConfig
        >>> denoised, _ = dvt.load_denoised(weights="vit_micro/denoiser")
        >>> methods = {"raw": dvt.load_backbone("vit_micro"), "denoised": denoised}
        >>> options = ArtifactScoresConfig(num_images=16)
        >>> result = dvt.evaluate("artifact_scores", methods, "photos/", options)
        >>> sorted(result.rows)
        ['denoised', 'raw']
    """
    if isinstance(methods, Mapping):
        for name, model in methods.items():
            check_model(f"methods[{name!r}]", model)
        methods = [OnePass(name, model) for name, model in methods.items()]
    names = [method.name for method in methods]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"methods=[{', '.join(names)}]: give at least one method, each name once.")
    if isinstance(task, str):
        task = make_task(task, config, data)
    elif config is not None:
        raise ConfigError(f"config={config}: the task {task.name} has its options already; leave config out.")
    fresh = TaskResult(
        task=task.name,
        backbone=backbone or methods[0].spec.backbone,
        data=str(data),
        protocol=plain(task.protocol),
        metrics=tuple(task.metrics),
    )
    if out is None:
        return _score(task, methods, fresh, None, cache, device, reporter)
    folder = Path(out)
    with one_writer(folder / f".{task.name}{LOCK}", out):  # other tasks may be scored into this folder meanwhile
        return _score(task, methods, fresh, folder, cache, device, reporter)


def _score(
    task: Task,
    methods: Sequence[Method],
    fresh: TaskResult,
    out: Path | None,
    cache: bool,
    device: torch.device | None,
    reporter: Reporter,
) -> TaskResult:
    """Score methods; those with a row in the folder are kept. `fresh` is the result with no rows."""
    before = None if out is None else _before(fresh, out)
    features = None if out is None or not cache else out / "features"
    prints = {method.name: plain({"dvt": __version__, **fingerprint(method)}) for method in methods}
    known = {
        name: row
        for name, row in (before.rows if before is not None else {}).items()
        if row.fingerprint == prints.get(name)
    }
    missing = [method for method in methods if method.name not in known]
    result = fresh
    for method in methods:
        row = known.get(method.name)
        if row is None:
            start = time.perf_counter()
            scores = task.evaluate(method if features is None else cached(method, features, missing), reporter)
            row = MethodResult(
                scores=scores,
                passes=method.cost,
                seconds=time.perf_counter() - start,
                fingerprint=prints[method.name],
                environment=environment(device),
            )
        result = result.with_row(method.name, row)
        if out is not None and method.name not in known:
            _write(_with_others(result, before), out)
        main = result.metrics[0]
        text = f"{method.name}: {main.name} {cell(result, method.name, main)}"
        reporter.note(f"{text}   (scored before)" if method.name in known else text)
    return result


def _before(fresh: TaskResult, out: Path) -> TaskResult | None:
    """The result of an earlier evaluation of the same task, measured in the same way.

    Raises:
        EvaluationError: it cannot be read, or was measured differently.
    """
    path = out / f"{fresh.task}.json"
    if not path.exists():
        return None
    found = TaskResult.read(path)
    if differing := differences(_identity(found), _identity(fresh), "file", "request"):
        lines = "".join(f"\n  {line}" for line in differing)
        raise EvaluationError(
            f"{path} was measured differently, and would be lost:{lines}\nGive another out=, or delete that file."
        )
    return found


def _identity(result: TaskResult) -> dict[str, Any]:
    """What two results must share to be comparable."""
    metrics = {metric.name: plain(metric) for metric in result.metrics}
    return {
        "backbone": result.backbone,
        "data": str(Path(result.data).resolve()),
        **result.protocol,
        "metrics": metrics,
    }


def _with_others(result: TaskResult, before: TaskResult | None) -> TaskResult:
    """The result with the rows of an earlier evaluation that it does not have."""
    for name, row in before.rows.items() if before is not None else ():
        if name not in result.rows:
            result = result.with_row(name, row)
    return result


def _write(result: TaskResult, out: Path) -> None:
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / f"{result.task}.json", result.to_json().encode())
    write_atomic(out / f"{result.task}.md", markdown(result).encode())
