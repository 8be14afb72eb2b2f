"""Labels of points: near, inside, and not on each other, however close the points are."""

from itertools import combinations

import numpy as np
import pytest

from dvt.viz.labels import Anchor, leader, place_labels

AREA = (40.0, 20.0, 460.0, 300.0)


def anchors_of(xy, widths=None):
    widths = [30 + 12 * (number % 7) for number in range(len(xy))] if widths is None else widths
    return [Anchor(float(x), float(y), 4.5, float(width), 12.0) for (x, y), width in zip(xy, widths, strict=True)]


def boxes_of(anchors, places):
    return [(left, top, left + one.width, top + one.height) for one, (left, top) in zip(anchors, places, strict=True)]


def overlap(one, other):
    return min(one[2], other[2]) > max(one[0], other[0]) and min(one[3], other[3]) > max(one[1], other[1])


def check(anchors, places):
    boxes = boxes_of(anchors, places)
    assert not any(overlap(one, other) for one, other in combinations(boxes, 2))
    for anchor in anchors:
        size = anchor.size
        marker = (anchor.x - size, anchor.y - size, anchor.x + size, anchor.y + size)
        assert not any(overlap(marker, box) for box in boxes)
    for left, top, right, bottom in boxes:
        assert AREA[0] <= left and AREA[1] <= top and right <= AREA[2] and bottom <= AREA[3]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("side", [3, 40, 250], ids=["one spot", "close", "spread"])
def test_twelve_labels_do_not_cover_each_other_nor_a_marker(seed, side):
    rng = np.random.default_rng(seed)
    middle = rng.uniform((60, 40), (400, 280), size=2) if side < 250 else np.array([180, 150])
    anchors = anchors_of((middle + rng.uniform(-side / 2, side / 2, size=(12, 2))).clip((45, 25), (455, 295)))
    check(anchors, place_labels(anchors, AREA))


def test_points_on_one_spot_all_get_a_label():
    anchors = anchors_of([(100, 100)] * 12)
    places = place_labels(anchors, AREA)
    check(anchors, places)
    assert places == place_labels(anchors, AREA)


def test_a_label_alone_is_beside_its_point_and_needs_no_line():
    (anchor,) = anchors_of([(200, 100)])
    assert place_labels([anchor], AREA) == [(207.5, 94.0)] and leader(anchor, (207.5, 94.0)) is None


def test_at_the_edge_a_label_goes_to_the_other_side():
    (anchor,) = anchors_of([(450, 100)], widths=[80])
    ((left, _),) = place_labels([anchor], AREA)
    assert left + 80 < 450


def test_labels_avoid_lines_where_they_can():
    (anchor,) = anchors_of([(200, 100)], widths=[60])
    ((left, top),) = place_labels([anchor], AREA, lines=[(230.0, 20.0, 230.0, 300.0)])
    assert not overlap((left, top, left + 60, top + 12), (230, 20, 230, 300)) and left + 60 < 230


def test_a_label_that_is_far_away_has_a_line_to_its_near_edge():
    (anchor,) = anchors_of([(200, 100)], widths=[60])
    assert leader(anchor, (260.0, 80.0)) == (260.0, 92.0)
