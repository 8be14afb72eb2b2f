"""TaskResult: the scores of all methods in one task, and its JSON."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from dvt.errors import EvaluationError
from dvt.evaluation.task import Metric, Scores
from dvt.files import parse_json, plain, to_json

SCHEMA_VERSION: Final = 3
"""Version of the JSON that this code writes; it reads no other."""
_KIND = "dvt evaluation"

T = TypeVar("T", Metric, Scores, "MethodResult", "TaskResult")


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodResult:
    """One method in one task."""

    scores: Scores
    """What it scored."""
    passes: int
    """Forward passes of the ViT per image, counted at the image size of the task."""
    seconds: float
    """Duration, features and probes; shorter where features were cached."""
    fingerprint: dict[str, Any]
    """Which features the method makes, and the version of dvt that scored it."""
    environment: dict[str, str] = field(default_factory=dict)
    """Versions and machine that scored it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """All methods in one task."""

    task: str
    """Name of the task."""
    backbone: str
    """Timm name of the ViT."""
    data: str
    """Folder of the data."""
    protocol: dict[str, Any]
    """How it was measured."""
    metrics: tuple[Metric, ...]
    """What was measured, the main metric first."""
    rows: Mapping[str, MethodResult] = field(default_factory=dict)
    """By name of the method, in the order of the runs; raw first."""

    @property
    def environment(self) -> dict[str, str]:
        """Versions and machine; where rows differ, all of them."""
        values: dict[str, dict[str, None]] = {}
        for row in self.rows.values():
            for name, value in row.environment.items():
                values.setdefault(name, {})[value] = None
        return {name: " / ".join(each) for name, each in values.items()}

    def with_row(self, method: str, row: MethodResult) -> "TaskResult":
        """The same with a row added or replaced.

        Raises:
            EvaluationError: the task gave other metrics than it announced.
        """
        names = {metric.name for metric in self.metrics}
        if names != set(row.scores.values):
            raise EvaluationError(f"{self.task} gave {sorted(row.scores.values)}; expected {sorted(names)}.")
        return replace(self, rows={**self.rows, method: row})

    def mean(self, method: str, metric: str) -> float:
        """Mean over the seeds; NaN where there is no value."""
        return statistics.fmean(self.rows[method].scores.values[metric])

    def spread(self, method: str, metric: str) -> float | None:
        """Sample standard deviation over the seeds; None with one value, or one that is not finite."""
        values = self.rows[method].scores.values[metric]
        return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None

    def to_json(self) -> str:
        """The result as JSON; NaN is null."""
        body = {"kind": _KIND, "schema": SCHEMA_VERSION, **plain(self)}
        for row in body["rows"].values():
            row.update(row.pop("scores"), seconds=round(row["seconds"], 2))
        return to_json(body)

    @classmethod
    def read(cls, path: Path) -> "TaskResult":
        """Read the file of a result.

        Raises:
            EvaluationError: it cannot be read, is damaged, or of another kind or version.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise EvaluationError(f"{path} cannot be read: {error.strerror or error}.") from error
        except UnicodeDecodeError as error:
            raise EvaluationError(
                f"{path} does not hold the result of an evaluation ({error.reason}). Delete it, or give another out=."
            ) from error
        return cls.from_json(text, source=str(path))

    @classmethod
    def from_json(cls, text: str, *, source: str) -> "TaskResult":
        """Read what `to_json` wrote; `source` names the file in errors.

        Raises:
            EvaluationError: damaged, of another kind or version.
        """
        try:
            body = parse_json(text)
            if body.pop("kind") != _KIND or body.pop("schema") != SCHEMA_VERSION:
                raise ValueError("another kind or version")
            metrics = tuple(_typed(Metric(**metric)) for metric in body.pop("metrics"))
            if not metrics:
                raise ValueError("no metrics")
            rows = {name: _row(row, metrics) for name, row in body.pop("rows").items()}
            return _typed(cls(**body, metrics=metrics, rows=rows))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise EvaluationError(
                f"{source} does not hold the result of an evaluation ({error}). Delete it, or give another out=."
            ) from error


def _row(body: dict[str, Any], metrics: tuple[Metric, ...]) -> MethodResult:
    values = {
        key: tuple(math.nan if value is None else float(value) for value in each)
        for key, each in body.pop("values").items()
    }
    if set(values) != {metric.name for metric in metrics} or not all(values.values()):
        raise ValueError("a row does not have the metrics of the task")
    scores = Scores(values=values, notes=tuple(body.pop("notes")), details=body.pop("details"))
    row = _typed(MethodResult(scores=_typed(scores), **body))
    if any(type(text) is not str for text in (*scores.notes, *row.environment.values())) or not math.isfinite(
        row.seconds
    ):
        raise TypeError("notes or environment are no texts, or seconds is no number")
    return row


_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "task": (str,), "backbone": (str,), "data": (str,), "protocol": (dict,), "name": (str,), "unit": (str,),
    "higher_is_better": (bool, type(None)), "meaning": (str,), "passes": (int,), "seconds": (int, float),
    "fingerprint": (dict,), "environment": (dict,), "details": (dict,), "notes": (tuple,),
}  # fmt: skip


def _typed(part: T) -> T:
    """A part of a result that was read from a file, its types checked.

    Raises:
        TypeError: a field has another type.
    """
    for entry in fields(part):
        value = getattr(part, entry.name)
        if entry.name in _TYPES and type(value) not in _TYPES[entry.name]:
            raise TypeError(f"{entry.name} is {value!r}")
    return part
