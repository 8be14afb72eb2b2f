"""Score against cost as SVG: one labelled point per method, with the best score for every cost as a step line.

Written directly, not by a plotting library: the same points give the same bytes with any version of anything, and the
text stays text. White background, dark text: legible on pages of any colour.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

from dvt.viz.colours import INK, PALE, SERIES_COLOURS
from dvt.viz.labels import Anchor, leader, place_labels

_LABEL_PX, _TEXT_PX, _TITLE_PX = 11, 11, 13
_CHARACTER: Final = 0.61
"""Width of a character of a monospaced font, in units of its size; the widest of the usual ones has 0.602."""
_MARKER_PX = 4.5
"""Half the side of a marker."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 34, 44
"""Margins of a panel."""
_PANEL_HW, _ALONE_HW = (330, 470), (400, 700)
"""Size of one of several panels, and of one alone."""
_LEGEND_PX = 30
_MARKERS: Final = ("circle", "square", "diamond", "triangle", "flag")
_STYLE = (
    f".dvt text{{font:{_TEXT_PX}px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:{INK}}}"
    f".dvt .title{{font-size:{_TITLE_PX}px;font-weight:600}}"
    f".dvt .label{{font:{_LABEL_PX}px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
    "paint-order:stroke;stroke:#ffffff;stroke-width:2.5px}"
    ".dvt .front{font-weight:700}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A method in a plot."""

    label: str
    cost: float
    """0 or more, on a logarithmic axis."""
    score: float
    """Finite."""
    spread: float | None = None
    """Half the length of its error bar."""
    series: int = 0
    """Number of its marker and colour, 0 to 4."""
    on_front: bool = False
    """Whether no point is as good for less, or better for as much: its marker is filled, its label bold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A plot of one score."""

    title: str
    axis: str
    """Label of the axis of the score."""
    points: tuple[Point, ...]
    """At least one."""
    higher_is_better: bool | None = True
    """Better is up: the axis of a score of which less is better points down. None: neither is better."""


def draw_pareto(panels: Sequence[Panel], series: Sequence[str], cost: str) -> str:
    """Plots of score against cost, two in a row, as an SVG element.

    Args:
        panels: at least one.
        series: name of every series, in the legend where a point has it; at most five.
        cost: label of the axis of the cost.

    Examples:
        >>> points = (Point(label="raw", cost=1, score=38.0, on_front=True), Point(label="tiles", cost=4, score=46.2))
        >>> svg = draw_pareto([Panel(title="CamVid", axis="mIoU (%)", points=points)], ["ViT"], "forward passes")
        >>> svg.startswith("<svg") and "tiles: 46.2" in svg
        True
    """
    assert panels and len(series) <= len(_MARKERS), (len(panels), series)
    columns = min(2, len(panels))
    height, width = _PANEL_HW if columns > 1 else _ALONE_HW
    rows = math.ceil(len(panels) / columns)
    full_w, full_h = width * columns, height * rows + _LEGEND_PX
    titles = escape("; ".join(panel.title for panel in panels))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="dvt" width="{full_w}" height="{full_h}"'
        f' viewBox="0 0 {full_w} {full_h}" role="img" aria-label="{titles}">',
        f'<style>{_STYLE}</style><rect width="{full_w}" height="{full_h}" fill="#ffffff"/>',
        *_legend(panels, series),
    ]
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        parts.append(f'<g transform="translate({column * width},{_LEGEND_PX + row * height})">')
        parts += [*_Axes(panel, width, height).draw(cost), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(panels: Sequence[Panel], series: Sequence[str]) -> Iterator[str]:
    used = {point.series for panel in panels for point in panel.points}
    x, y = float(_LEFT), _LEGEND_PX - 9
    for number, name in enumerate(series):
        if number in used:
            yield _marker(number, x, y - 4, filled=True)
            yield f'<text x="{_px(x + 10)}" y="{_px(y)}">{escape(name)}</text>'
            x += 10 + 6.1 * len(name) + 20
    if any(point.on_front for panel in panels for point in panel.points):
        yield f'<path d="M{_px(x - 6)},{_px(y - 4)}h20" stroke="{PALE}" stroke-width="2"/>'
        yield f'<text x="{_px(x + 20)}" y="{_px(y)}">best for its cost (filled)</text>'


class _Axes:
    """The plot of a panel: places in pixels from the left upper corner."""

    def __init__(self, panel: Panel, width: int, height: int):
        self.panel, self.width, self.height = panel, width, height
        self.right, self.bottom = width - _RIGHT, height - _BOTTOM
        costs = [_shown_cost(point.cost) for point in panel.points]
        self.costs = (min(costs) / 1.4, max(costs) * 1.4)
        ends = [point.score + sign * (point.spread or 0.0) for point in panel.points for sign in (-1, 1)]
        margin = 0.08 * (max(ends) - min(ends)) or max(abs(ends[0]) * 0.05, 0.05)
        self.scores = (min(ends) - margin, max(ends) + margin)

    def x(self, cost: float) -> float:
        """Of a cost."""
        low, high = map(math.log, self.costs)
        return _LEFT + (self.right - _LEFT) * (math.log(_shown_cost(cost)) - low) / (high - low)

    def y(self, score: float) -> float:
        """Of a score; better ones are further up."""
        low, high = self.scores
        share = (score - low) / (high - low)
        up = 1 - share if self.panel.higher_is_better is False else share
        return self.bottom - (self.bottom - _TOP) * up

    def draw(self, cost: str) -> Iterator[str]:
        """The elements of the plot."""
        yield f'<text class="title" x="{_LEFT}" y="{_TOP - 14}">{escape(self.panel.title)}</text>'
        yield from self._frame(cost)
        front = self._front()
        if front:
            steps = "".join(f"L{_px(x)},{_px(y)}" for _, _, x, y in front)
            start = f"M{_px(front[0][0])},{_px(front[0][1])}"
            yield f'<path d="{start}{steps}" fill="none" stroke="{PALE}" stroke-width="2"/>'
        yield from self._points(front, cost)

    def _frame(self, cost: str) -> Iterator[str]:
        better = {True: " (higher is better)", False: " (lower is better, axis points down)", None: ""}
        for value in ticks(*self.scores):
            y = self.y(value)
            yield f'<path d="M{_LEFT},{_px(y)}H{self.right}" stroke="#ececec"/>'
            yield f'<text x="{_LEFT - 6}" y="{_px(y + 4)}" text-anchor="end">{_number(value)}</text>'
        for value in cost_ticks(*self.costs):
            x = self.x(value)
            yield f'<path d="M{_px(x)},{self.bottom}v4" stroke="{INK}"/>'
            yield f'<text x="{_px(x)}" y="{self.bottom + 16}" text-anchor="middle">{_number(value)}</text>'
        yield f'<path d="M{_LEFT},{_TOP}V{self.bottom}H{self.right}" fill="none" stroke="{INK}"/>'
        middle = (_LEFT + self.right) / 2
        yield f'<text x="{_px(middle)}" y="{self.bottom + 34}" text-anchor="middle">{escape(cost)}</text>'
        middle = (_TOP + self.bottom) / 2
        label = escape(self.panel.axis + better[self.panel.higher_is_better])
        yield f'<text transform="translate(14,{_px(middle)}) rotate(-90)" text-anchor="middle">{label}</text>'

    def _front(self) -> list[tuple[float, float, float, float]]:
        """The horizontal and vertical lines of the front in turn, from left to right; the last is horizontal."""
        corners = sorted({(self.x(each.cost), self.y(each.score)) for each in self.panel.points if each.on_front})
        lines = []
        for (left, y), (right, next_y) in pairwise(corners):
            lines += [(left, y, right, y), (right, y, right, next_y)]
        return [*lines, (*corners[-1], float(self.right), corners[-1][1])] if corners else []

    def _points(self, front: Sequence[tuple[float, float, float, float]], cost: str) -> Iterator[str]:
        points = self.panel.points
        anchors = [
            Anchor(
                self.x(point.cost),
                self.y(point.score),
                _MARKER_PX,
                _CHARACTER * _LABEL_PX * len(point.label),
                _LABEL_PX * 1.1,
            )
            for point in points
        ]
        bars = [self._bar(point) for point in points if point.spread]
        lines = [(left, min(top, bottom), right, max(top, bottom)) for left, top, right, bottom in (*front, *bars)]
        places = place_labels(anchors, (_LEFT + 3, _TOP + 2, self.right, self.bottom - 3), lines)
        for anchor, place in zip(anchors, places, strict=True):
            if (end := leader(anchor, place)) is not None:
                yield (
                    f'<path d="M{_px(anchor.x)},{_px(anchor.y)}L{_px(end[0])},{_px(end[1])}" stroke="#8a8a8a"'
                    ' stroke-width="0.7"/>'
                )
        drawn = sorted(zip(points, anchors, places, strict=True), key=lambda each: each[0].on_front)
        for point, anchor, (left, top) in drawn:  # the front last, on top
            spread = "" if point.spread is None else f" ± {point.spread:.3g}"
            yield f"<g><title>{escape(point.label)}: {point.score:.4g}{spread}, {_number(point.cost)} {cost}</title>"
            if point.spread:
                x, low, _, high = self._bar(point)
                cap = "h-3h6"
                yield (
                    f'<path d="M{_px(x)},{_px(low)}{cap}M{_px(x)},{_px(low)}V{_px(high)}{cap}" fill="none"'
                    f' stroke="{SERIES_COLOURS[point.series]}"/>'
                )
            yield _marker(point.series, anchor.x, anchor.y, filled=point.on_front)
            kind = "label front" if point.on_front else "label"
            y = _px(top + 0.8 * anchor.height)
            yield f'<text class="{kind}" x="{_px(left)}" y="{y}">{escape(point.label)}</text></g>'

    def _bar(self, point: Point) -> tuple[float, float, float, float]:
        x, spread = self.x(point.cost), point.spread or 0.0
        return x, self.y(point.score - spread), x, self.y(point.score + spread)


def ticks(low: float, high: float) -> list[float]:
    """Round values from `low` to `high`: four to eleven, 1, 2 or 5 times a power of ten apart.

    Examples:
        >>> ticks(36.2, 51.9)
        [38.0, 40.0, 42.0, 44.0, 46.0, 48.0, 50.0]
    """
    rough = (high - low) / 10
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(number * step, 10) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def cost_ticks(low: float, high: float) -> list[float]:
    """Values of a logarithmic axis from `low` to `high`: 0, and 1, 2, 5 times powers of ten.

    Examples:
        >>> cost_ticks(0.8, 90)
        [1, 2, 5, 10, 20, 50]
    """
    values = [factor * 10**power for power in range(12) for factor in (1, 2, 5)]
    return [0.0] * (low < _shown_cost(0)) + [value for value in values if low <= value <= high]


def _shown_cost(cost: float) -> float:
    """A logarithmic axis has no zero: no cost is drawn at one half."""
    return max(cost, 0.5)


def _marker(series: int, x: float, y: float, *, filled: bool) -> str:
    r, colour = _MARKER_PX, SERIES_COLOURS[series]
    style = f'fill="{colour if filled else "#ffffff"}" stroke="{colour}" stroke-width="1.6"'
    corners: list[tuple[float, float]]
    match _MARKERS[series]:
        case "circle":
            return f'<circle cx="{_px(x)}" cy="{_px(y)}" r="{r - 0.3}" {style}/>'
        case "square":
            corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
            r -= 0.7
        case "diamond":
            corners = [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)]
        case "triangle":
            corners = [(0, -1.15), (1.1, 0.85), (-1.1, 0.85)]
        case _:
            corners = [(-1.1, -0.85), (1.1, -0.85), (0, 1.15)]
    points = " ".join(f"{_px(x + r * across)},{_px(y + r * down)}" for across, down in corners)
    return f'<polygon points="{points}" {style}/>'


def _number(value: float) -> str:
    return f"{value:.6g}"


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
