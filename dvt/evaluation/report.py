"""The HTML report of an evaluation: tables, findings, plots and the features in an explorer, in one file."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from dvt.evaluation.result import TaskResult
from dvt.evaluation.summary import main_metrics, pareto_svg, settings_that_differ, summary_svg, summary_table
from dvt.evaluation.table import findings, notes, protocol_text, table
from dvt.viz.page import html_list, html_table, write_page


def write_report(
    path: str | Path, results: Sequence[TaskResult], explorer: str | None = None, title: str = "dvt"
) -> None:
    """Write results as one self-contained HTML page.

    Args:
        path: the file; an existing one is replaced.
        results: one section each; above those of several, their main scores together.
        explorer: what `explorer_frame` returned for some images, below the results; None: nothing.
        title: of the page.

    Raises:
        DiskError: the file cannot be written.
    """
    parts = list(_summary(results)) if len(results) > 1 else []
    parts += [part for result in results for part in _section(result)]
    if explorer is not None:
        parts += ["<h2>Features</h2>", explorer]
    write_page(path, title, parts)


def _summary(results: Sequence[TaskResult]) -> Iterator[str]:
    yield "<h2>Summary</h2>"
    yield html_table(*summary_table(results))
    yield summary_svg(results) or ""
    yield html_list(settings_that_differ(results))


def _section(result: TaskResult) -> Iterator[str]:
    heads, rows = table(result)
    yield f"<h2>{escape(result.task.replace('_', ' '))}, {escape(result.backbone)}</h2>"
    yield html_table([*heads, "seconds"], [[*row, f"{result.rows[row[0]].seconds:.0f}"] for row in rows])
    yield html_list([*findings(result), *notes(result)])
    yield pareto_svg([(result, metric) for metric in main_metrics(result, every_layout=True)]) or ""
    yield html_list((f"{metric.name}: {metric.meaning}" for metric in result.metrics), small=True)
    machine = ", ".join(f"{key} {value}" for key, value in result.environment.items())
    yield (
        f'<p class="small">Protocol: {escape(protocol_text(result))}. Passes are forward passes of the ViT per image,'
        f" at the image size of the task. {escape(machine)}.</p>"
    )
