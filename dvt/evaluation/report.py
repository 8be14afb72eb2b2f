"""The HTML report of an evaluation: tables, findings, bars and panels of features, in one file."""

import io
import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from dvt.evaluation.result import TaskResult
from dvt.evaluation.table import RAW, cell, findings, notes, protocol_text, table
from dvt.evaluation.task import Metric
from dvt.methods.names import is_zoom
from dvt.viz.page import html_figure, html_list, html_table, write_page

_RAW_COLOUR, _COLOUR = "#9a9a9a", "#2f6f9f"


def write_report(
    path: str | Path, results: Sequence[TaskResult], panels: Sequence[tuple[str, Image.Image]] = (), title: str = "dvt"
) -> None:
    """Write results as one self-contained HTML page.

    Args:
        path: the file; an existing one is replaced.
        results: one section each.
        panels: images with a caption each, below the results.
        title: of the page.

    Raises:
        DiskError: the file cannot be written.
    """
    parts = [part for result in results for part in _section(result)]
    if panels:
        parts += ["<h2>Features</h2>", *(html_figure(caption, image) for caption, image in panels)]
    write_page(path, title, parts)


def _section(result: TaskResult) -> Iterator[str]:
    heads, rows = table(result)
    yield f"<h2>{escape(result.task.replace('_', ' '))}, {escape(result.backbone)}</h2>"
    yield html_table([*heads, "seconds"], [[*row, f"{result.rows[row[0]].seconds:.0f}"] for row in rows])
    yield html_list([*findings(result), *notes(result)])
    main = [metric for metric in result.metrics if metric.name.startswith(result.metrics[0].name)]
    plotted = main if len(main) > 1 else result.metrics[:4]  # the main metric in every layout, or the first four
    yield from filter(None, (bars_svg(result, metric) for metric in plotted))
    yield html_list((f"{metric.name}: {metric.meaning}" for metric in result.metrics), small=True)
    machine = ", ".join(f"{key} {value}" for key, value in result.environment.items())
    yield (
        f'<p class="small">Protocol: {escape(protocol_text(result))}. Passes are forward passes of the ViT per image,'
        f" at the image size of the task. {escape(machine)}.</p>"
    )


def bars_svg(result: TaskResult, metric: Metric) -> str | None:
    """A bar per method with its spread over seeds, as an SVG element; None where no method has a value.

    Raw features and their zoom baselines are grey.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    names = [name for name in result.rows if math.isfinite(result.mean(name, metric.name))]
    if not names:
        return None
    means = [result.mean(name, metric.name) for name in names]
    spreads = [result.spread(name, metric.name) or 0.0 for name in names]
    colours = [_RAW_COLOUR if name == RAW or is_zoom(name) else _COLOUR for name in names]
    figure = Figure(figsize=(5.2, 0.6 + 0.32 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    places = list(range(len(names)))[::-1]
    axes.barh(places, means, xerr=spreads, color=colours, height=0.66, error_kw={"elinewidth": 1, "ecolor": "#333333"})
    axes.set_yticks(places, labels=names)
    for place, name, mean, spread in zip(places, names, means, spreads, strict=True):
        axes.annotate(
            cell(result, name, metric),
            (max(mean + spread, 0.0), place),
            (4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.margins(x=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    better = {True: ", higher is better", False: ", lower is better", None: ""}[metric.higher_is_better]
    axes.set_xlabel(f"{metric.name}{f' ({metric.unit})' if metric.unit else ''}{better}")
    figure_text = io.StringIO()
    figure.set_canvas(FigureCanvasSVG(figure))
    figure.savefig(figure_text, format="svg", metadata={"Date": None})
    text = figure_text.getvalue()
    return text[text.index("<svg") :]
