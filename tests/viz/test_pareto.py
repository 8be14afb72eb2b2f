"""Plots of score against cost: read back from the SVG."""

import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from dvt.viz.pareto import Panel, Point, cost_ticks, draw_pareto, ticks

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ["raw", "SRT", "stage 1", "trained", "other"]


def panel_of(*points, better=True):
    return Panel(title="t", axis="mIoU (%)", points=points, higher_is_better=better)


def drawn(*panels):
    return ElementTree.fromstring(draw_pareto(panels, NAMES, "passes"))


def centres(root):
    """Centre of the marker of every method, by name; all are circles."""
    groups = [group for group in root.iter(f"{SVG}g") if group.find(f"{SVG}title") is not None]
    return {
        group.find(f"{SVG}title").text.partition(":")[0]: tuple(
            float(group.find(f"{SVG}circle").get(key)) for key in ("cx", "cy")
        )
        for group in groups
    }


A, B, C = (
    Point(label=label, cost=cost, score=score, on_front=True)
    for label, cost, score in (("a", 1, 38.0), ("b", 4, 43.0), ("c", 16, 50.0))
)


def test_equal_factors_of_cost_are_equally_far_apart():
    at = centres(drawn(panel_of(A, B, C)))
    assert at["b"][0] - at["a"][0] == pytest.approx(at["c"][0] - at["b"][0], abs=0.11)
    assert (at["a"][1] - at["b"][1]) / (at["a"][1] - at["c"][1]) == pytest.approx(5 / 12, abs=0.01)


@pytest.mark.parametrize(("better", "upper"), [(True, "c"), (False, "a"), (None, "c")])
def test_better_is_up(better, upper):
    root = drawn(panel_of(A, B, C, better=better))
    at = centres(root)
    assert min(at, key=lambda name: at[name][1]) == upper
    texts = " ".join(text.text for text in root.iter(f"{SVG}text"))
    assert ("axis points down" in texts) == (better is False)


def test_the_front_goes_through_its_points_in_steps():
    root = drawn(panel_of(C, A, B, Point(label="worse", cost=8, score=40.0)))
    at = centres(root)
    line = next(path.get("d") for path in root.iter(f"{SVG}path") if path.get("d").count("L") > 2)
    corners = [tuple(map(float, pair)) for pair in re.findall(r"[ML]([\d.]+),([\d.]+)", line)]
    assert corners[0] == at["a"] and at["b"] in corners and at["c"] in corners and at["worse"] not in corners
    assert all((x == next_x) != (y == next_y) for (x, y), (next_x, next_y) in pairwise(corners))
    assert all(next_x >= x and next_y <= y for (x, y), (next_x, next_y) in pairwise(corners))


def test_methods_differ_without_colour():
    """By marker, and the front by what fills it."""
    points = [replace(A, label=name, series=number, cost=number + 1) for number, name in enumerate(NAMES)]
    markers = re.findall(
        r'</title>\s*<(circle|polygon)(?: points="([^"]*)")?', draw_pareto([panel_of(*points)], NAMES, "c")
    )
    assert len({(kind, _turns(corners)) for kind, corners in markers}) == len(NAMES)
    filled, hollow = (draw_pareto([panel_of(replace(A, on_front=front))], NAMES, "passes") for front in (True, False))
    assert hollow.count('fill="#ffffff" stroke') == 1 > filled.count('fill="#ffffff" stroke')


def _turns(polygon):
    """The directions of the sides of a polygon, wherever it is."""
    corners = [tuple(map(float, corner.split(","))) for corner in polygon.split()]
    return tuple(((x > x0) - (x < x0), (y > y0) - (y < y0)) for (x0, y0), (x, y) in pairwise(corners))


def test_error_bars_are_as_long_as_the_spread():
    root = drawn(panel_of(replace(A, spread=2.0), replace(C, spread=None)))
    at = centres(root)
    ends = next(p.get("d") for p in root.iter(f"{SVG}path") if "h-3h6" in p.get("d"))
    low, high = (float(number) for number in re.fullmatch(r"M.*?,([\d.]+)h.*V([\d.]+)h-3h6", ends).groups())
    scale = (at["a"][1] - at["c"][1]) / 12
    assert (low - high) / scale == pytest.approx(4.0, abs=0.05) and (low + high) / 2 == pytest.approx(
        at["a"][1], abs=0.1
    )


def test_a_file_is_the_same_each_time_and_whole():
    panels = [panel_of(A, B, replace(C, label="<c & d>"))] * 3
    text = draw_pareto(panels, NAMES, "passes")
    assert text == draw_pareto(panels, NAMES, "passes") and "&lt;c &amp; d&gt;" in text
    root = ElementTree.fromstring(text)
    assert root.find(f"{SVG}rect").get("fill") == "#ffffff", "legible on a dark page"
    assert "id=" not in text and "href" not in text


@pytest.mark.parametrize(
    "points",
    [
        (A,),
        (A, replace(A, label="b")),
        (replace(A, cost=0, score=0.0),),
        (replace(A, score=-0.001), replace(B, score=0.001)),
    ],
    ids=["one", "equal", "nothing", "tiny"],
)
def test_few_points_are_drawn_too(points):
    at = centres(drawn(panel_of(*points)))
    assert set(at) == {point.label for point in points} and all(0 < x < 700 and 0 < y < 400 for x, y in at.values())


def test_ticks_are_round_and_inside():
    for low, high in ((36.2, 51.9), (0.31, 0.372), (-3e-3, 2e-3), (0, 100), (1e4, 3e6)):
        found = ticks(low, high)
        assert 4 <= len(found) <= 11 and low <= found[0] and found[-1] <= high
    assert cost_ticks(0.4, 30) == [0, 1, 2, 5, 10, 20] and cost_ticks(0.7, 1.4) == [1]
