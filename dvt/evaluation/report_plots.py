"""Bars of one metric over methods, by matplotlib without pyplot."""

import io
import math

from dvt.evaluation.result import TaskResult
from dvt.evaluation.table import cell
from dvt.evaluation.task import Metric

_RAW_COLOUR, _COLOUR = "#9a9a9a", "#2f6f9f"


def bars_svg(result: TaskResult, metric: Metric) -> str | None:
    """A bar per method with its spread over seeds, as an SVG element; None where no method has a value.

    Methods that only look closer at the raw features are grey, as raw is.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    names = [name for name in result.rows if math.isfinite(result.mean(name, metric.name))]
    if not names:
        return None
    means = [result.mean(name, metric.name) for name in names]
    spreads = [result.spread(name, metric.name) or 0.0 for name in names]
    colours = [_RAW_COLOUR if name.startswith(("raw", "tiles")) else _COLOUR for name in names]
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
