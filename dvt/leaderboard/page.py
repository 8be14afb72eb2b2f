"""The page of a leaderboard: one HTML file with a table to sort and filter, plots, maps, and links to the receipts."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final
from urllib.parse import quote

from dvt.evaluation.result import TaskResult
from dvt.evaluation.summary import main_metrics, pareto_svg
from dvt.evaluation.table import RAW, cell, features_text, protocol_text
from dvt.evaluation.task import Metric
from dvt.files import write_atomic
from dvt.leaderboard.maps import read_maps
from dvt.leaderboard.receipts import Receipt, receipt_path
from dvt.methods.names import family
from dvt.version import __version__
from dvt.viz.page import html_figure

PAGE: Final = "index.html"
_ARROWS: Final = {True: "↑", False: "↓", None: ""}
_BETTER: Final = {True: "higher is better", False: "lower is better", None: "neither is better"}


@dataclass(frozen=True, slots=True)
class _Column:
    """A metric of a task."""

    task: str
    metric: Metric


def write_board_page(out: Path, title: str, receipts: Sequence[Receipt]) -> None:
    """Write the page of a leaderboard.

    Args:
        out: folder of the leaderboard; the maps in it are shown.
        title: heading.
        receipts: those that are shown, in this order.

    Raises:
        DiskError: it cannot be written.
    """
    parts = files("dvt.leaderboard")
    columns = _columns(receipts)
    text = Template(parts.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        about=escape(_about(receipts)),
        style=parts.joinpath("page.css").read_text(encoding="utf-8"),
        script=parts.joinpath("page.js").read_text(encoding="utf-8"),
        vits=_choices(receipt.vit for receipt in receipts),
        kinds=_choices(family(receipt.method).value for receipt in receipts),
        head=_head(columns),
        body="\n".join(_rows(receipts, columns)),
        sections="\n".join(part for vit in _labels(receipts) for part in _section(out, vit, receipts)),
        tasks="\n".join(_tasks(receipts)),
        version=escape(__version__),
    )
    write_atomic(out / PAGE, text.encode())


def result_of(receipts: Sequence[Receipt]) -> TaskResult:
    """The result of one ViT in one task, from its receipts, titled by the label of the task."""
    first = receipts[0]
    return TaskResult(
        task=first.label,
        backbone=first.vit,
        data=first.result.data,
        protocol=first.result.protocol,
        metrics=first.result.metrics,
        rows={receipt.method: receipt.row for receipt in receipts},
    )


def _labels(receipts: Sequence[Receipt]) -> list[str]:
    return list(dict.fromkeys(receipt.vit for receipt in receipts))


def _of(receipts: Sequence[Receipt], vit: str) -> dict[str, TaskResult]:
    """The results of a ViT, by label of the task."""
    by_task: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        if receipt.vit == vit:
            by_task.setdefault(receipt.label, []).append(receipt)
    return {task: result_of(some) for task, some in by_task.items()}


def _columns(receipts: Sequence[Receipt]) -> list[_Column]:
    tasks = {receipt.label: receipt.result for receipt in reversed(receipts)}
    order = dict.fromkeys(receipt.label for receipt in receipts)
    return [_Column(task, metric) for task in order for metric in main_metrics(tasks[task])]


def _about(receipts: Sequence[Receipt]) -> str:
    counts = {
        "ViT": len(_labels(receipts)),
        "method": len({receipt.method for receipt in receipts}),
        "task": len({receipt.label for receipt in receipts}),
    }
    words = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items())
    return f"{words}: {len(receipts)} scores, each with its receipt"


def _choices(values: "Iterator[str]") -> str:
    return "".join(f'<option value="{escape(each)}">{escape(each)}</option>' for each in dict.fromkeys(values))


def _head(columns: Sequence[_Column]) -> str:
    fixed = [("ViT", "text", ""), ("Method", "text", ""), ("Passes", "number", "forward passes of the ViT per image")]
    cells = [_sortable(name, "", kind, about) for name, kind, about in fixed]
    for column in columns:
        metric = column.metric
        unit = f" ({metric.unit})" if metric.unit else ""
        about = f"{metric.meaning} {_BETTER[metric.higher_is_better].capitalize()}."
        small = f"{metric.name}{unit} {_ARROWS[metric.higher_is_better]}".strip()
        kind = "number" if metric.higher_is_better is False else "number-down"
        cells.append(_sortable(column.task.replace("_", " "), small, kind, about))
    return "".join(cells)


def _sortable(name: str, small: str, kind: str, about: str) -> str:
    """A heading whose button sorts; `kind` says what is compared, and whether the first press sorts downwards."""
    below = f"<small>{escape(small)}</small>" if small else ""
    title = f' title="{escape(about)}"' if about else ""
    button = f'<button type="button"{title}><span>{escape(name)}</span>{below}</button>'
    return f'<th scope="col" data-kind="{kind}">{button}</th>'


def _rows(receipts: Sequence[Receipt], columns: Sequence[_Column]) -> Iterator[str]:
    for vit in _labels(receipts):
        results = _of(receipts, vit)
        best = {column: _best(results.get(column.task), column.metric) for column in columns}
        for method in dict.fromkeys(receipt.method for receipt in receipts if receipt.vit == vit):
            passes = dict.fromkeys(each.rows[method].passes for each in results.values() if method in each.rows)
            kind = family(method)
            yield (
                f'<tr data-vit="{escape(vit)}" data-kind="{escape(kind.value)}">'
                f'<th scope="row" data-value="{escape(vit)}">{escape(vit)}</th>'
                f'<td class="method" data-vit="{escape(vit)}" data-value="{escape(method)}">'
                f'<i class="mark {kind.name}"></i>{escape(method)}</td>'
                f'<td data-value="{max(passes)}">{" / ".join(map(str, passes))}</td>'
                + "".join(_score(vit, method, results.get(each.task), each, best[each]) for each in columns)
                + "</tr>"
            )


def _best(result: TaskResult | None, metric: Metric) -> float | None:
    """The best mean of a ViT in a metric."""
    if result is None or metric.higher_is_better is None or metric not in result.metrics:
        return None
    values = [mean for name in result.rows if math.isfinite(mean := result.mean(name, metric.name))]
    return (max if metric.higher_is_better else min)(values, default=None)


def _score(vit: str, method: str, result: TaskResult | None, column: _Column, best: float | None) -> str:
    metric = column.metric
    if result is None or method not in result.rows or metric not in result.metrics:
        return '<td class="none">–</td>'
    mean = result.mean(method, metric.name)
    text = cell(result, method, metric)
    number, _, spread = text.partition(" ± ")
    row = result.rows[method]
    seeds = len(row.scores.values[metric.name])
    about = f"{seeds} {'values' if seeds > 1 else 'value'}, {row.seconds:.0f} s; opens the receipt"
    link = quote(receipt_path(f"{vit}/{column.task}/{method}"))
    name = f"{text} {metric.unit}, {column.task}, {metric.name}, {method}, {vit}: receipt"
    strong = ' class="best"' if mean == best else ""
    shown = f"{escape(number)}<small> ± {escape(spread)}</small>" if spread else escape(number)
    value = f' data-value="{mean!r}"' if math.isfinite(mean) else ""
    return (
        f'<td{strong}{value}><a href="{link}" title="{about}" aria-label="{escape(name)}">{shown}</a>'
        f"{_gain(result, method, metric, mean)}</td>"
    )


def _gain(result: TaskResult, method: str, metric: Metric, mean: float) -> str:
    """The difference from raw features, coloured by whether it is better."""
    if method == RAW or RAW not in result.rows or not math.isfinite(mean):
        return ""
    value = mean - result.mean(RAW, metric.name)
    if not math.isfinite(value):
        return ""
    digits = 1 if metric.unit == "%" else 3
    value, better = round(value, digits), metric.higher_is_better
    text = f"{value:+.{digits}f}".replace("-", "−") if value else "±0"
    kind = "same" if better is None or not value else "up" if (value > 0) == better else "down"
    return f'<span class="gain {kind}">{text}</span>'


def _section(out: Path, vit: str, receipts: Sequence[Receipt]) -> Iterator[str]:
    """A ViT: what its features are, scores against passes, the doctor's maps."""
    results = _of(receipts, vit)
    some = [receipt for receipt in receipts if receipt.vit == vit]
    raw = next((each for each in results.values() if RAW in each.rows), None)
    about = [some[0].result.backbone, *([] if raw is None else [features_text(raw)])]
    yield f'<section data-vit="{escape(vit)}"><h2>{escape(vit)}</h2>'
    yield f'<p class="quiet">{escape("; ".join(about))}</p>'
    svg = pareto_svg([(result, result.metrics[0]) for result in results.values()])
    if svg is not None:
        yield "<h3>Scores against passes</h3>"
        yield f'<div class="plots" tabindex="0" role="group" aria-label="Plots of {escape(vit)}">{svg}</div>'
    maps = read_maps(out, vit)
    if maps is not None:
        words = "".join(f"<li>{escape(line)}</li>" for line in maps.words)
        figure = html_figure(f"{vit}: artifact scores over depth, and maps of every layer over the grid", maps.image)
        yield f"<h3>What the doctor finds</h3><ul>{words}</ul>"
        yield f"<details><summary>Maps of all layers</summary>{figure}</details>"
    yield "</section>"


def _tasks(receipts: Sequence[Receipt]) -> Iterator[str]:
    """A line or two per task: data, hash, protocol."""
    for task in dict.fromkeys(receipt.label for receipt in receipts):
        of_task = [receipt for receipt in receipts if receipt.label == task]
        ways = {protocol_text(receipt.result): receipt for receipt in of_task}
        for text, receipt in ways.items():
            name = receipt.result.task.replace("_", " ")
            yield (
                f"<dt>{escape(task)}</dt><dd>{escape(name)} on {escape(Path(receipt.result.data).name)}"
                f" (sha256 <code>{escape(receipt.data_sha256[:12])}</code>). {escape(text)}.</dd>"
            )
    machines = dict.fromkeys(
        ", ".join(
            f"{name} {receipt.row.environment[name]}"
            for name in ("dvt", "torch", "platform", "device")
            if name in receipt.row.environment
        )
        for receipt in receipts
    )
    seconds = sum(receipt.row.seconds for receipt in receipts)
    yield f"<dt>Machines</dt><dd>{escape('; '.join(machines))}. {seconds:.0f} s together.</dd>"
