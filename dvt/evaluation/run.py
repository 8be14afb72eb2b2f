"""Tasks x methods -> results, written down after every method: an evaluation that was stopped goes on."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from dvt.errors import EvaluationError
from dvt.evaluation.result import Row, TaskResult
from dvt.evaluation.table import cell, markdown
from dvt.evaluation.task import Task
from dvt.files import disk_errors, write_atomic
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter
from dvt.runtime import environment
from dvt.version import __version__


def evaluate(
    task: Task,
    methods: Sequence[Method],
    *,
    backbone: str,
    data: str,
    out: str | Path | None = None,
    device: torch.device | None = None,
    reporter: Reporter = SILENT,
) -> TaskResult:
    """Score methods in a task, one after the other.

    Args:
        task: the task.
        methods: what is compared; the one that is called raw belongs among them, first.
        backbone: name of the ViT, for the table.
        data: where the data of the task lie.
        out: folder for `<task>.json` and `<task>.md`, written after every method. Scores that are there already are
            taken where version and method are the same; those of another task, data or protocol are not replaced.
        device: where the ViT computes, for the record.
        reporter: shows the progress, and a note with the main metric of every method.

    Raises:
        EvaluationError: what `out` holds cannot be read, or was measured in another way.
        DvtError: the data cannot be read or do not fit.
    """
    fresh = TaskResult(
        task=task.name,
        backbone=backbone,
        data=data,
        protocol=_plain(task.protocol),
        metrics=tuple(task.metrics),
    )
    before = _before(fresh, out)
    result = fresh
    for method in methods:
        row = None if before is None else before.rows.get(method.name)
        known = row is not None and row.fingerprint == _fingerprint(method)
        if row is None or not known:
            row = _scored(task, method, reporter, environment(device))
        result = result.with_row(method.name, row)
        if out is not None and not known:
            _write(_with_others(result, before), Path(out))
        main = result.metrics[0]
        text = f"{method.name}: {main.name} {cell(result, method.name, main)}"
        reporter.note(f"{text}   (scored before)" if known else text)
    return result


def _scored(task: Task, method: Method, reporter: Reporter, machine: dict[str, str]) -> Row:
    start = time.perf_counter()
    scores = task.evaluate(method, reporter)
    seconds = time.perf_counter() - start
    return Row(
        scores=scores,
        passes=method.passes,
        seconds=seconds,
        fingerprint=_fingerprint(method),
        environment=machine,
    )


def _fingerprint(method: Method) -> dict[str, Any]:
    """The method, and the code: what another version of dvt scored is scored again."""
    return _plain({"dvt": __version__, **method.fingerprint})


def _before(fresh: TaskResult, out: str | Path | None) -> TaskResult | None:
    """What an earlier evaluation of the same task in the same way left.

    Raises:
        EvaluationError: it cannot be read, or was measured in another way.
    """
    if out is None:
        return None
    path = _json_path(fresh, Path(out))
    if not path.exists():
        return None
    found = TaskResult.from_json(path.read_text(encoding="utf-8"), source=str(path))
    differences = list(_differences(found, fresh))
    if differences:
        lines = "".join(f"\n  {line}" for line in differences)
        raise EvaluationError(
            f"{path} was measured in another way, and would be lost:{lines}\nGive another out=, or delete that file."
        )
    return found


def _differences(before: TaskResult, now: TaskResult) -> Iterator[str]:
    """A line for everything in which two results cannot be compared."""
    if before.backbone != now.backbone:
        yield f"backbone: {before.backbone} there, {now.backbone} given"
    if Path(before.data).resolve() != Path(now.data).resolve():
        yield f"data: {before.data} there, {now.data} given"
    for name in dict.fromkeys([*before.protocol, *now.protocol]):
        if before.protocol.get(name) != now.protocol.get(name):
            yield f"{name}: {before.protocol.get(name)} there, {now.protocol.get(name)} given"
    if before.metrics != now.metrics:
        yield "metrics: those of another version"


def _with_others(result: TaskResult, before: TaskResult | None) -> TaskResult:
    """Rows of an earlier evaluation that this one has not come to, or does not have, stay."""
    if before is not None:
        for name, row in before.rows.items():
            if name not in result.rows:
                result = result.with_row(name, row)
    return result


def _write(result: TaskResult, out: Path) -> None:
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    path = _json_path(result, out)
    write_atomic(path, result.to_json().encode())
    write_atomic(path.with_suffix(".md"), markdown(result).encode())


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    return plain


def _json_path(result: TaskResult, out: Path) -> Path:
    return out / f"{result.task}.json"
