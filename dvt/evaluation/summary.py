"""Several tasks together: the results of a folder, as a table of methods and scores, and as scores against passes."""

import math
from collections.abc import Sequence
from pathlib import Path

from dvt.evaluation.layouts import metric_and_layout
from dvt.evaluation.result import TaskResult
from dvt.evaluation.table import cell, markdown_table, with_unit
from dvt.evaluation.task import Metric
from dvt.evaluation.tasks import TASKS
from dvt.methods.names import Family, family
from dvt.settings import differences
from dvt.viz.pareto import Panel, Point, draw_pareto

NOT_RUN = "-"
"""Stands in a table where a method was not scored in a task."""
PASSES = "forward passes per image"


def read_results(folder: str | Path) -> list[TaskResult]:
    """The results that `dvt evaluate` wrote into a folder, in the order of the tasks.

    Raises:
        EvaluationError: a file cannot be read, or is damaged.
    """
    paths = (Path(folder) / f"{task}.json" for task in TASKS)
    return [TaskResult.read(path) for path in paths if path.exists()]


def main_metrics(result: TaskResult, *, every_layout: bool = False) -> list[Metric]:
    """The main metric of a task and its further readings, such as mIoU and mIoU pixels.

    Args:
        result: of the task.
        every_layout: also of images shown in other layouts than the first.
    """
    main, first = metric_and_layout(result.metrics[0].name)
    chosen = []
    for metric in result.metrics:
        name, layout = metric_and_layout(metric.name)
        if (name == main or name.startswith(f"{main} ")) and (every_layout or layout is first):
            chosen.append(metric)
    return chosen


def summary_table(results: Sequence[TaskResult]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows as texts: method, passes, and the main metrics of every task.

    Passes are written once where all tasks agree.
    """
    columns = [(result, metric) for result in results for metric in main_metrics(result)]
    heads = ["method", "passes", *(f"{_title(result, results)}, {with_unit(metric)}" for result, metric in columns)]
    rows = []
    for name in dict.fromkeys(name for result in results for name in result.rows):
        passes = dict.fromkeys(str(result.rows[name].passes) for result in results if name in result.rows)
        cells = [cell(result, name, metric) if name in result.rows else NOT_RUN for result, metric in columns]
        rows.append([name, " / ".join(passes), *cells])
    return heads, rows


def summary_markdown(results: Sequence[TaskResult]) -> str:
    """The table as Markdown, with the notes of `settings_that_differ`."""
    notes = "".join(f"- {line}\n" for line in settings_that_differ(results))
    return "\n".join(markdown_table(*summary_table(results))) + "\n" + (notes and f"\n{notes}")


def settings_that_differ(results: Sequence[TaskResult]) -> list[str]:
    """A line for every method that had other settings in one task than in another one of the same ViT."""
    lines = []
    for name in dict.fromkeys(name for result in results for name in result.rows):
        first, *others = [result for result in results if name in result.rows]
        for other in others:
            mine, theirs = first.rows[name].fingerprint, other.rows[name].fingerprint
            if other.backbone == first.backbone and (found := differences(mine, theirs, first.task, other.task)):
                lines.append(f"{name} had several settings: {'; '.join(found)}.")
                break
    return lines


def pareto_svg(plots: Sequence[tuple[TaskResult, Metric]]) -> str | None:
    """Score against forward passes as SVG, a plot for every result and metric; None where no method has a value."""
    results = list({id(result): result for result, _ in plots}.values())
    panels = [panel for result, metric in plots if (panel := _panel(result, metric, results)) is not None]
    return draw_pareto(panels, [each.value for each in Family], PASSES) if panels else None


def summary_svg(results: Sequence[TaskResult]) -> str | None:
    """Main scores of all tasks against forward passes, as SVG; None where there is no value."""
    return pareto_svg([(result, metric) for result in results for metric in main_metrics(result)])


def on_front(points: Sequence[tuple[float, float]], *, higher_is_better: bool) -> list[bool]:
    """Which points (cost, score) are on the Pareto front: no other is at least as good in both, and better in one.

    Examples:
        >>> on_front([(1, 38.0), (4, 46.2), (9, 45.1), (4, 43.0)], higher_is_better=True)
        [True, True, False, False]
    """
    sign = 1 if higher_is_better else -1

    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one != other and one[0] <= other[0] and sign * one[1] >= sign * other[1]

    return [not any(beats(other, point) for other in points) for point in points]


def _panel(result: TaskResult, metric: Metric, results: Sequence[TaskResult]) -> Panel | None:
    names = [name for name in result.rows if math.isfinite(result.mean(name, metric.name))]
    if not names:
        return None
    points = [(float(result.rows[name].passes), result.mean(name, metric.name)) for name in names]
    better, kinds = metric.higher_is_better, list(Family)
    front = [False] * len(points) if better is None else on_front(points, higher_is_better=better)
    return Panel(
        title=f"{_title(result, results)} ({Path(result.data).name}): {metric.name}",
        axis=with_unit(metric),
        points=tuple(
            Point(
                label=name,
                cost=passes,
                score=score,
                spread=result.spread(name, metric.name),
                series=kinds.index(family(name)),
                on_front=is_on_front,
            )
            for name, (passes, score), is_on_front in zip(names, points, front, strict=True)
        ),
        higher_is_better=better,
    )


def _title(result: TaskResult, results: Sequence[TaskResult]) -> str:
    """The task in words; with the ViT where there are several."""
    words = result.task.replace("_", " ")
    return words if len({each.backbone for each in results}) == 1 else f"{words}, {result.backbone}"
