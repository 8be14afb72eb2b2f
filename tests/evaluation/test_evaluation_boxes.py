"""Boxes: overlap, boxes of masks and patches, VOC annotations."""

import pytest
import torch

from dvt.errors import EvaluationError
from dvt.evaluation.boxes import Box, best_iou, box_of_mask, box_of_patches, central_box
from dvt.evaluation.datasets.voc_boxes import VocObject, read_voc_list, read_voc_objects
from dvt.grid import PatchGrid


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 1),
        ((0, 0, 4, 4), (2, 2, 6, 6), 4 / 28),
        ((0, 0, 4, 4), (4, 0, 8, 4), 0),
        ((0, 0, 4, 4), (9, 9, 10, 10), 0),
        ((0, 0, 10, 10), (0, 0, 10, 5), 0.5),
        ((3, 3, 3, 3), (3, 3, 3, 3), 0),
    ],
)
def test_iou_by_hand(one, other, expected):
    for found, true in ((one, other), (other, one)):
        assert best_iou(Box(*found), (Box(*true),)) == pytest.approx(expected, abs=1e-15)
        assert best_iou(Box(*found), (Box(20, 20, 21, 21), Box(*true))) == pytest.approx(expected, abs=1e-15)
    assert best_iou(None, (Box(*one),)) == 0


def test_iou_counts_shared_pixels():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        corners = torch.randint(0, 12, (2, 2, 2), generator=generator).sort(dim=1).values
        masks = torch.zeros(2, 12, 12, dtype=torch.bool)
        for mask, ((left, top), (right, bottom)) in zip(masks, corners.tolist(), strict=True):
            mask[top : bottom + 1, left : right + 1] = True
        found, true = (box_of_mask(mask) for mask in masks)
        assert best_iou(found, (true,)) == float((masks[0] & masks[1]).sum().double() / (masks[0] | masks[1]).sum())


def test_the_box_in_the_middle_has_half_the_area():
    box = central_box((30, 80))
    assert (box.right - box.left) * (box.bottom - box.top) == pytest.approx(1200)
    assert box.left + box.right == pytest.approx(80) and box.top + box.bottom == pytest.approx(30)
    assert (box.right - box.left) / (box.bottom - box.top) == pytest.approx(80 / 30)


def test_the_box_of_a_mask():
    mask = torch.zeros(6, 9, dtype=torch.bool)
    assert box_of_mask(mask) is None
    mask[2, 3] = mask[4, 7] = True
    assert box_of_mask(mask) == Box(3, 2, 8, 5)


def test_the_box_of_patches_is_in_pixels_of_the_image():
    grid = PatchGrid.of((32, 48), 8)
    mask = torch.zeros(grid.hw, dtype=torch.bool)
    assert box_of_patches(mask, grid, (32, 48)) is None
    mask[1:3, 2:5] = True
    assert box_of_patches(mask, grid, (32, 48)) == Box(16, 8, 40, 24)
    assert box_of_patches(mask, grid, (64, 480)) == pytest.approx(Box(160, 16, 400, 48))


def test_overlapping_patches_meet_between_their_centres_and_reach_the_border():
    grid = PatchGrid.of((20, 20), 8, 4)  # 4 x 4, centres at 4, 8, 12, 16
    mask = torch.zeros(grid.hw, dtype=torch.bool)
    mask[1, 2] = True
    assert box_of_patches(mask, grid, (20, 20)) == pytest.approx(Box(10, 6, 14, 10))
    mask[:] = True
    assert box_of_patches(mask, grid, (20, 20)) == Box(0, 0, 20, 20)


def annotation(*objects):
    return f"<annotation><filename>a.jpg</filename>{''.join(objects)}</annotation>"


def voc_object(xmin, ymin, xmax, ymax, difficult=None, extra=""):
    flag = "" if difficult is None else f"<difficult>{difficult}</difficult>"
    corners = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    return f"<object><name>dog</name>{flag}{extra}<bndbox>{corners}</bndbox></object>"


def test_voc_corners_count_from_one_and_are_inclusive(tmp_path):
    path = tmp_path / "a.xml"
    part = "<part><name>head</name><bndbox><xmin>2</xmin></bndbox></part>"
    path.write_text(annotation(voc_object(1, 1, 500, 375, 0), voc_object(10, "20.5", 30, 40, 1, part)))
    whole, part = VocObject("dog", False, Box(0, 0, 500, 375)), VocObject("dog", True, Box(9, 19.5, 30, 40))
    assert read_voc_objects(path) == (whole, part)
    path.write_text(annotation())
    assert read_voc_objects(path) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", "a.xml cannot be read as XML"),
        ("", "a.xml cannot be read as XML"),
        (None, "a.xml cannot be read as XML"),
        ("<html/>", "expected <annotation>"),
        (annotation("<object><name>dog</name></object>"), "the object dog has the box '', '', '', ''"),
        (annotation(voc_object(5, 1, 3, 9)), "xmin <= xmax"),
        (annotation(voc_object("nan", 1, 3, 9)), "'nan', '1'"),
        (annotation(voc_object("left", 1, 3, 9)), "'left', '1'"),
    ],
)
def test_invalid_annotations_are_refused_with_their_name(tmp_path, text, message):
    path = tmp_path / "a.xml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(EvaluationError, match=message):
        read_voc_objects(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\n", "is empty"), (b"a  1\nb -1\n", "the list of one class"), (b"\xff\xfe", "cannot be")],
)
def test_invalid_lists_are_refused(tmp_path, content, message):
    path = tmp_path / "trainval.txt"
    path.write_bytes(content)
    with pytest.raises(EvaluationError, match=message):
        read_voc_list(path)


def test_a_list_has_one_name_per_line(tmp_path):
    path = tmp_path / "trainval.txt"
    path.write_bytes(b"000012\r\n2007_000027 \n\n")
    assert read_voc_list(path) == ["000012", "2007_000027"]
