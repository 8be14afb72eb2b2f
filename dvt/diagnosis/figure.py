"""The diagnosis as an image: scores over depth, and the maps of each layer below it. pyplot is not used."""

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dvt.diagnosis.report import Diagnosis
from dvt.diagnosis.scores import ArtifactReport
from dvt.shapes import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CURVES = (
    ("position share", "#c0392b", "-"),
    ("upright share", "#e59866", "--"),
    ("outlier energy", "#7d3c98", "-"),
    ("shift error", "#1f618d", "-"),
    ("shift locked", "#5dade2", "--"),
    ("position R2", "#1e8449", ":"),
    ("MIC", "#7f8c8d", ":"),
)
"""Scores drawn over depth: name, colour and line style."""
_ROWS = (
    ("norm", "norm / median,\nlog 0.5 to 10", 0.5, 10.0),
    ("position share", "position,\nlog 0.01 to 1", 0.01, 1.0),
    ("outliers", "share of images\nwith an outlier,\nlog 0.01 to 1", 0.01, 1.0),
    ("shift error", "shift error, at both\ntokens of a pair,\n0 to 1", 0.0, 1.0),
    ("position R2", "part of the\nposition R2,\n0 to 2", 0.0, 2.0),
)
"""Maps: name, label, and the values of black and yellow; scales with a lower end above 0 are logarithmic."""
_COLUMN_IN, _MARGIN_IN = 1.05, 1.9
_DPI = 110


def draw_diagnosis(diagnosis: Diagnosis) -> Image.Image:
    """Draw the diagnosis in words, the scores of every layer, and their maps over the grid.

    All maps of a row have one scale, so layers can be compared. Grey means no value.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(diagnosis.layers)
    width = _MARGIN_IN + max(7, count) * _COLUMN_IN
    lines = [part for line in diagnosis.words().splitlines() for part in wrap(line, round(width * 12.5))]
    text_in, chart_in = 0.17 * len(lines) + 0.3, 2.6
    height = text_in + chart_in + (len(_ROWS) + 0.6) * _COLUMN_IN
    figure = Figure(figsize=(width, height), dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        1 + len(_ROWS),
        count,
        height_ratios=[chart_in, *[_COLUMN_IN] * len(_ROWS)],
        left=_MARGIN_IN / width,
        right=1 - 0.1 / width,
        top=1 - (text_in + 0.5) / height,
        bottom=0.1 / height,
        hspace=0.12,
        wspace=0.06,
    )
    figure.text(0.1 / width, 1 - 0.12 / height, _title(diagnosis), va="top", size=11, weight="bold")
    figure.text(0.1 / width, 1 - 0.4 / height, "\n".join(lines), va="top", size=8, linespacing=1.35)
    _draw_curves(figure.add_subplot(grid[0, :]), diagnosis)
    _draw_maps(figure, grid, diagnosis)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return Image.fromarray(pixels).convert("RGB")


def _title(diagnosis: Diagnosis) -> str:
    kind = f"{diagnosis.findings[0].severity} {diagnosis.kind}" if diagnosis.findings else "no artifact"
    return f"{diagnosis.model}, {diagnosis.grid}, {diagnosis.num_images} images: {kind}"


def _draw_curves(axes: "Axes", diagnosis: Diagnosis) -> None:
    places = range(len(diagnosis.layers))
    for name, colour, dashes in _CURVES:
        values = [report.numbers()[name] for report in diagnosis.reports]
        axes.plot(places, values, color=colour, linestyle=dashes, marker=".", label=name)
    axes.set_xlim(-0.5, len(diagnosis.layers) - 0.5)
    axes.set_ylim(-0.05, 1.05)
    axes.set_xticks(list(places), [layer.name.replace(" + ", "\n+ ") for layer in diagnosis.layers], size=8)
    axes.xaxis.tick_top()
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    late = [place for place, layer in enumerate(diagnosis.layers) if layer.late]
    axes.axvspan(late[0] - 0.5, late[-1] + 0.5, color="#f4f1e8", zorder=0)
    beside = -0.35 / (_COLUMN_IN * len(diagnosis.layers))
    axes.legend(loc="center right", bbox_to_anchor=(beside, 0.5), fontsize=7, frameon=False, handlelength=1.6)


def _draw_maps(figure: "Figure", grid: Any, diagnosis: Diagnosis) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize

    colours = colormaps["inferno"].with_extremes(bad="#999999")
    for row, (name, label, low, high) in enumerate(_ROWS, start=1):
        for column, report in enumerate(diagnosis.reports):
            axes = figure.add_subplot(grid[row, column])
            values = painted(report, name).clamp(low, high).numpy()
            scale = LogNorm(low, high) if low > 0 else Normalize(low, high)
            axes.imshow(values, cmap=colours, norm=scale, interpolation="nearest", aspect="equal")
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel(label, rotation=0, ha="right", va="center", size=8)


def painted(report: ArtifactReport, name: str) -> Float[Tensor, "H W"]:
    """A map as drawn: norms in units of the median."""
    values = report.maps()[name]
    if name == "norm":
        values = values / max(report.outliers.median, torch.finfo(torch.float32).tiny)
    return values.float()
