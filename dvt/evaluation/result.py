"""TaskResult: the scores of all methods in one task, as a table for people and as JSON."""

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from dvt.errors import EvaluationError
from dvt.evaluation.task import Metric, Scores

SCHEMA_VERSION: Final = 2
"""Version of the JSON that this code writes; it reads no other."""
NO_VALUE: Final = "n/a"
"""What stands in a table where there is no number."""
_KIND = "dvt evaluation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method in one task."""

    scores: Scores
    """What it reached."""
    passes: int
    """Forward passes of the ViT per picture, in passes at the size of the task."""
    seconds: float
    """How long it took, features and probes; less where features were in the cache."""
    fingerprint: dict[str, Any]
    """What the method was, and the version of dvt that scored it."""
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
    """What was measured, the main one first."""
    rows: Mapping[str, Row] = field(default_factory=dict)
    """By name of the method, in the order in which they were run; raw first."""

    @property
    def environment(self) -> dict[str, str]:
        """Versions and machine; where rows differ, all that there were."""
        values: dict[str, dict[str, None]] = {}
        for row in self.rows.values():
            for name, value in row.environment.items():
                values.setdefault(name, {})[value] = None
        return {name: " / ".join(each) for name, each in values.items()}

    def with_row(self, method: str, row: Row) -> "TaskResult":
        """The same with one method more, or again.

        Raises:
            EvaluationError: the task gave other metrics than it announced.
        """
        names = {metric.name for metric in self.metrics}
        if names != set(row.scores.values):
            raise EvaluationError(f"{self.task} gave {sorted(row.scores.values)}; expected {sorted(names)}.")
        body = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return TaskResult(**(body | {"rows": {**self.rows, method: row}}))

    def mean(self, method: str, metric: str) -> float:
        """Mean over the seeds; NaN where there is no value."""
        return statistics.fmean(self.rows[method].scores.values[metric])

    def spread(self, method: str, metric: str) -> float | None:
        """Standard deviation over the seeds (of the sample); None where there is one value, or one that is none."""
        values = self.rows[method].scores.values[metric]
        return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None

    def to_json(self) -> str:
        """The result as JSON; values that are not numbers are null."""
        rows = {
            name: {
                "values": {key: [_number(value) for value in values] for key, values in row.scores.values.items()},
                "notes": list(row.scores.notes),
                "details": _finite(row.scores.details),
                "passes": row.passes,
                "seconds": round(row.seconds, 2),
                "fingerprint": row.fingerprint,
                "environment": row.environment,
            }
            for name, row in self.rows.items()
        }
        body = {
            "kind": _KIND,
            "schema": SCHEMA_VERSION,
            "task": self.task,
            "backbone": self.backbone,
            "data": self.data,
            "protocol": self.protocol,
            "metrics": [asdict(metric) for metric in self.metrics],
            "rows": rows,
        }
        return json.dumps(body, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, source: str) -> "TaskResult":
        """Read what `to_json` wrote.

        Raises:
            EvaluationError: damaged, of another kind or version.
        """
        try:
            body = json.loads(text)
            if body.pop("kind") != _KIND or body.pop("schema") != SCHEMA_VERSION:
                raise ValueError("another kind or version")
            metrics = tuple(Metric(**metric) for metric in body.pop("metrics"))
            rows = {name: _row(row) for name, row in body.pop("rows").items()}
            return cls(**body, metrics=metrics, rows=rows)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvaluationError(
                f"{source} does not hold the result of an evaluation ({error}). Delete it, or give another out=."
            ) from error


def _row(body: dict[str, Any]) -> Row:
    values = {
        key: tuple(math.nan if value is None else float(value) for value in each)
        for key, each in body["values"].items()
    }
    scores = Scores(values=values, notes=tuple(body["notes"]), details=body["details"])
    about = {name: body[name] for name in ("passes", "seconds", "fingerprint", "environment")}
    return Row(scores=scores, **about)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _finite(value: Any) -> Any:
    """The same with null for every number that is none."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return _number(value) if isinstance(value, float) else value
