"""A result as a table, and in words: what a method gains over raw features, and over zoom baselines."""

import math

from dvt.evaluation.result import TaskResult
from dvt.evaluation.task import Metric
from dvt.methods.names import is_zoom

RAW = "raw"
"""The baseline that every method is compared with."""
NO_VALUE = "n/a"
"""Stands in a table where there is no number."""


def cell(result: TaskResult, method: str, metric: Metric, *, plus_minus: str = "±") -> str:
    """A value with its spread over seeds, `56.5 ± 0.5`; n/a where there is none."""
    mean, spread = result.mean(method, metric.name), result.spread(method, metric.name)
    if not math.isfinite(mean):
        return NO_VALUE
    digits = _digits(metric)
    text = f"{round(mean, digits) + 0.0:.{digits}f}"  # no -0.0
    return text if spread is None else f"{text} {plus_minus} {spread:.{digits}f}"


def table(result: TaskResult) -> tuple[list[str], list[list[str]]]:
    """Heads and rows as texts: method, passes, and a column per metric."""
    heads = [
        "method",
        "passes",
        *map(with_unit, result.metrics),
    ]
    rows = [
        [name, str(row.passes), *(cell(result, name, metric) for metric in result.metrics)]
        for name, row in result.rows.items()
    ]
    return heads, rows


def with_unit(metric: Metric) -> str:
    """Name and unit of a metric."""
    return f"{metric.name} ({metric.unit})" if metric.unit else metric.name


def markdown_table(heads: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a table."""
    return [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {' | '.join(row)} |" for row in rows)]


def markdown(result: TaskResult) -> str:
    """The result as Markdown: table, findings, notes, protocol."""
    lines = [
        f"## {result.task}, {result.backbone}",
        "",
        *markdown_table(*table(result)),
        "",
        *(f"- {line}" for line in (*findings(result), *notes(result))),
        "",
        f"Protocol: {protocol_text(result)}.",
        *([f"Features: {features_text(result)}."] if RAW in result.rows else []),
    ]
    return "\n".join(lines) + "\n"


def findings(result: TaskResult) -> list[str]:
    """For every method but raw: its gain in the main metric over raw and over the best zoom baseline.

    Says where a difference is within twice the spread of the seeds, and in which metrics a method hurts.
    """
    if RAW not in result.rows:
        return ["raw was not run: without it the numbers cannot be compared."]
    metric = result.metrics[0]
    if metric.higher_is_better is None:
        return []
    if not math.isfinite(result.mean(RAW, metric.name)):
        return [f"raw has no {metric.name}: there is nothing to compare with."]
    zoomed = [name for name in result.rows if is_zoom(name)]
    others = [name for name in result.rows if name != RAW and name not in zoomed]
    lines = [_finding(result, name, metric, zoomed) for name in others]
    if others and result.spread(RAW, metric.name) is None:
        lines.append("one value per method, no seeds: there is no spread to tell a small difference from chance.")
    if others and not zoomed:
        lines.append("no zoom baseline was run: method=[raw,raw@2x,tiles,...] shows how much of a gain is zoom alone.")
    return [line for line in lines if line]


def notes(result: TaskResult) -> list[str]:
    """The notes of all methods; a note that all share stands once."""
    by_note: dict[str, list[str]] = {}
    for name, row in result.rows.items():
        for note in row.scores.notes:
            by_note.setdefault(note, []).append(name)
    return [
        note if len(names) == len(result.rows) else f"{', '.join(names)}: {note}" for note, names in by_note.items()
    ]


def protocol_text(result: TaskResult) -> str:
    """The protocol in one line."""
    return ", ".join(f"{key.replace('_', ' ')} {_short(value)}" for key, value in result.protocol.items())


def features_text(result: TaskResult) -> str:
    """Which features of the ViT are compared, in one line."""
    about = result.rows[RAW].fingerprint
    norm = "after" if about.get("norm") else "before"
    weights = str(about.get("weights_hash"))[:12]
    return f"block {about.get('layer')}, {norm} the final norm, stride {about.get('stride')} px, weights {weights}"


def _finding(result: TaskResult, name: str, metric: Metric, zoomed: list[str]) -> str:
    if not math.isfinite(result.mean(name, metric.name)):
        return f"{name}: no {metric.name}."
    parts = [f"{_difference(result, name, RAW, metric)} over raw"]
    reached = [each for each in zoomed if math.isfinite(result.mean(each, metric.name))]
    if reached:
        sign = 1 if metric.higher_is_better else -1
        best = max(reached, key=lambda each: sign * result.mean(each, metric.name))
        parts.append(
            f"{_difference(result, name, best, metric)} over the best zoom baseline ({best}, {_passes(result, best)})"
        )
    hurt = [each.name for each in result.metrics if _hurts(result, name, each)]
    text = f"{name}: {metric.name} {', '.join(parts)}"
    return f"{text}. It hurts {', '.join(hurt)}." if hurt else f"{text}."


def _passes(result: TaskResult, method: str) -> str:
    count = result.rows[method].passes
    return f"{count} pass{'es' if count > 1 else ''}"


def _difference(result: TaskResult, method: str, baseline: str, metric: Metric) -> str:
    value = result.mean(method, metric.name) - result.mean(baseline, metric.name)
    noise = _noise(result, method, baseline, metric)
    within = " (within the spread of the seeds)" if noise and abs(value) <= noise else ""
    digits = _digits(metric)
    return f"{round(value, digits) + 0.0:+.{digits}f}{within}"


def _hurts(result: TaskResult, method: str, metric: Metric) -> bool:
    """Worse than raw by more than the spread."""
    if metric.higher_is_better is None:
        return False
    gain = result.mean(method, metric.name) - result.mean(RAW, metric.name)
    gain = gain if metric.higher_is_better else -gain
    return gain < -_noise(result, method, RAW, metric)  # a comparison with NaN is False


def _noise(result: TaskResult, method: str, baseline: str, metric: Metric) -> float:
    """Twice the standard error of the difference of two means over seeds; 0 where there is one value."""
    variance = 0.0
    for name in (method, baseline):
        spread = result.spread(name, metric.name)
        if spread is not None:
            variance += spread * spread / len(result.rows[name].scores.values[metric.name])
    return 2 * math.sqrt(variance)


def _digits(metric: Metric) -> int:
    return 1 if metric.unit == "%" else 3


def _short(value: object) -> str:
    if isinstance(value, list | tuple):
        is_size = len(value) == 2 and not any(isinstance(each, str) for each in value)
        return (" x " if is_size else "/").join(map(str, value))
    return str(value)
