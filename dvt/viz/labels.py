"""Labels beside points: where each of them goes so that they do not cover each other, or a point."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from dvt.shapes import Float64

_GAP_PX = 3.0
"""Between a marker and its label, and between two labels."""
_DIRECTIONS = 24
_RINGS = 16
"""Places that are tried: this many directions, at this many distances."""
_RING_PX = 10.0
_ROUNDS = 4
"""Each label is placed again, given the others, until none moves; this many times at most."""
_COVERS, _CROSSES, _LEADER = 1000.0, 5.0, 25.0
"""Costs in pixels of distance: of covering a label or marker, of lying on a line, and of a leader that runs through a
label or marker."""

Boxes = Float64[ndarray, "N 4"]
"""Left, top, right and bottom of rectangles, in pixels."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A point that gets a label."""

    x: float
    """Of the point, in pixels from the left."""
    y: float
    """In pixels from the top."""
    size: float
    """Half the side of the marker."""
    width: float
    """Of the label."""
    height: float


def place_labels(
    anchors: Sequence[Anchor], area: tuple[float, float, float, float], lines: Sequence[Sequence[float]] = ()
) -> list[tuple[float, float]]:
    """Places of labels: near their points, inside the area, not on each other nor on a marker if there is room.

    Args:
        anchors: the points.
        area: left, top, right and bottom that all labels stay in, in pixels.
        lines: left, top, right and bottom of horizontal and vertical lines, which labels avoid where they can.

    Returns:
        Left and top of every label.

    Examples:
        >>> place_labels([Anchor(50, 50, 4, 30, 10)], (0, 0, 100, 100))
        [(57.0, 45.0)]
    """
    markers = _boxes([(each.x - each.size, each.y - each.size, 2 * each.size, 2 * each.size) for each in anchors])
    thin = _grown(np.array(lines, dtype=float).reshape(-1, 4), 1, 1)
    found: dict[int, Boxes] = {}
    for _ in range(_ROUNDS):
        before = dict(found)
        for number, anchor in enumerate(anchors):
            tried = _candidates(anchor, area)
            others = [found[each] for each in found if each != number]
            solid = np.concatenate([_grown(markers, 1, 1), *(_grown(each, _GAP_PX, 0) for each in others)])
            cost = _distances(anchor, tried) + _less_usual(anchor, tried)
            covered = _overlaps(tried, solid)
            cost += _COVERS * (covered / (anchor.width * anchor.height) + (covered > 0)).sum(axis=1)
            cost += _CROSSES * (_overlaps(tried, thin) > 0).sum(axis=1)
            leaders = _leaders(anchor, tried)
            cost += _LEADER * _contain(np.delete(solid, number, axis=0), leaders)
            found[number] = tried[[int(np.argmin(cost.round(6)))]]
        if before and all(np.array_equal(before[each], found[each]) for each in found):
            break
    return [(float(found[number][0, 0]), float(found[number][0, 1])) for number in range(len(anchors))]


def leader(anchor: Anchor, place: tuple[float, float]) -> tuple[float, float] | None:
    """Where a line from the point to its label ends; None where the label is so close that it needs none."""
    box = _boxes([(*place, anchor.width, anchor.height)])
    if _distances(anchor, box)[0] < anchor.size + 3 * _GAP_PX:
        return None
    return min(max(anchor.x, box[0, 0]), box[0, 2]), min(max(anchor.y, box[0, 1]), box[0, 3])


def _boxes(corners_and_sizes: Sequence[tuple[float, float, float, float]]) -> Boxes:
    left, top, width, height = np.array(corners_and_sizes, dtype=float).reshape(-1, 4).T
    return np.stack([left, top, left + width, top + height], axis=1)


def _grown(boxes: Boxes, across: float, down: float) -> Boxes:
    grown: Boxes = boxes + np.array([-across, -down, across, down])
    return grown


def _candidates(anchor: Anchor, area: tuple[float, float, float, float]) -> Boxes:
    """Places of a label: beside, above and below its marker, then further away in all directions; cut to the area."""
    near = anchor.size + _GAP_PX
    corners = []
    for ring in range(_RINGS):
        for step in range(_DIRECTIONS):
            angle = 2 * math.pi * step / _DIRECTIONS
            across, down = math.cos(angle), -math.sin(angle)
            far = near + _RING_PX * ring
            middle_x = anchor.x + across * far + anchor.width / 2 * max(-1.0, min(1.0, 1.5 * across))
            middle_y = anchor.y + down * far + anchor.height / 2 * max(-1.0, min(1.0, 1.5 * down))
            corners.append((middle_x - anchor.width / 2, middle_y - anchor.height / 2))
    left, top, right, bottom = area
    lefts, tops = np.array(corners).round(1).T
    lefts = lefts.clip(left, max(left, right - anchor.width))
    tops = tops.clip(top, max(top, bottom - anchor.height))
    return np.stack([lefts, tops, lefts + anchor.width, tops + anchor.height], axis=1)


def _nearest(anchor: Anchor, boxes: Boxes) -> Float64[ndarray, "N 2"]:
    """The point of every box that is closest to the anchor."""
    return np.stack([np.clip(anchor.x, boxes[:, 0], boxes[:, 2]), np.clip(anchor.y, boxes[:, 1], boxes[:, 3])], axis=1)


def _distances(anchor: Anchor, boxes: Boxes) -> Float64[ndarray, " N"]:
    across, down = (_nearest(anchor, boxes) - np.array([anchor.x, anchor.y])).T
    distances: Float64[ndarray, " N"] = np.hypot(across, down)
    return distances


def _less_usual(anchor: Anchor, boxes: Boxes) -> Float64[ndarray, " N"]:
    """In pixels, how much further away a label may be before this place is taken: right of the point is best."""
    across, down = (boxes[:, :2] + boxes[:, 2:]).T / 2 - np.array([[anchor.x], [anchor.y]])
    cost: Float64[ndarray, " N"] = 2 * (np.abs(down) / anchor.height).clip(0, 1) + 0.5 * (across < 0)
    return cost


def _overlaps(boxes: Boxes, others: Float64[ndarray, "M 4"]) -> Float64[ndarray, "N M"]:
    """The area that every box shares with every other one."""
    across = np.minimum(boxes[:, None, 2], others[:, 2]) - np.maximum(boxes[:, None, 0], others[:, 0])
    down = np.minimum(boxes[:, None, 3], others[:, 3]) - np.maximum(boxes[:, None, 1], others[:, 1])
    areas: Float64[ndarray, "N M"] = across.clip(0) * down.clip(0)
    return areas


def _leaders(anchor: Anchor, boxes: Boxes) -> Float64[ndarray, "N P 2"]:
    """Points on the straight line from the anchor to every box."""
    shares = np.linspace(0, 1, 8)[:, None]
    start = np.array([anchor.x, anchor.y])
    points: Float64[ndarray, "N P 2"] = (1 - shares) * start + shares * _nearest(anchor, boxes)[:, None]
    return points


def _contain(boxes: Float64[ndarray, "M 4"], points: Float64[ndarray, "N P 2"]) -> Float64[ndarray, " N"]:
    """How many boxes contain one of the points, for every row of points."""
    x, y = points[:, :, None, 0], points[:, :, None, 1]
    inside = (x > boxes[:, 0]) & (x < boxes[:, 2]) & (y > boxes[:, 1]) & (y < boxes[:, 3])
    counts: Float64[ndarray, " N"] = inside.any(axis=1).sum(axis=1).astype(float)
    return counts
