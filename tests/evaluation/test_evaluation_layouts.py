"""Samples: what is refused, and what the layouts do to pictures and their labels."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image

from dvt.errors import EvaluationError
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.datasets.samples import FileSamples, Sample, SampleFiles
from dvt.evaluation.datasets.segmentation import LabelCodes, read_labels
from dvt.evaluation.layouts import LaidOut, upside_down


class Numbered(Sequence):
    """Samples whose pixels say where they come from: red is x, green is y, labels number the pixels."""

    def __init__(self, count, hw=(30, 40)):
        self.count, self.hw = count, hw

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        height, width = self.hw
        target = torch.arange(height * width).reshape(height, width)
        picture = torch.stack([target % width / width, target // width / height, torch.full((height, width), 0.5)])
        return Sample(f"picture {index}", picture, target)


def places(sample, hw=(30, 40)):
    """Rows and columns of the whole picture that a sample shows, by its labels; pixels say the same."""
    rows, columns = sample.target // hw[1], sample.target % hw[1]
    torch.testing.assert_close(sample.image[0], columns / hw[1])
    torch.testing.assert_close(sample.image[1], rows / hw[0])
    assert (rows == rows[:, :1]).all() and (columns == columns[:1]).all()
    return rows[:, 0], columns[0]


def test_labels_of_another_size_are_refused():
    with pytest.raises(EvaluationError, match=r"cat: the image is 4 x 6 px, its labels are 6 x 4"):
        Sample("cat", torch.zeros(3, 4, 6), torch.zeros(6, 4))
    with pytest.raises(EvaluationError, match=r"^cat: the image is 4 x 6 px, .* Read from a/cat.jpg and b/cat.png\.$"):
        Sample("cat", torch.zeros(3, 4, 6), torch.zeros(6, 4), source="a/cat.jpg and b/cat.png")


@pytest.mark.other_types  # a check of Sequence[Sample] would read a picture, and meet the error first
def test_labels_of_another_size_are_named_by_their_files(tmp_path):
    picture, labels = tmp_path / "train" / "1.png", tmp_path / "trainannot" / "1.png"
    for path, hw in ((picture, (4, 6)), (labels, (6, 4))):
        path.parent.mkdir()
        Image.fromarray(np.zeros(hw, np.uint8)).save(path)
    codes = LabelCodes(num_classes=2, void=2)
    pictures = FileSamples([SampleFiles("1", picture, labels)], lambda path: read_labels(path, codes))
    with pytest.raises(EvaluationError, match=r"4 x 6 px, .* Read from .*train/1\.png and .*trainannot/1\.png"):
        pictures[0]


def test_the_usual_layout_changes_nothing():
    samples = Numbered(3)
    shown = LaidOut(samples, Layout.usual, test=True)
    assert len(shown) == 3 and shown[1].key == "picture 1"
    assert torch.equal(shown[1].image, samples[1].image)


def test_upside_down_is_for_tests_alone():
    samples = Numbered(2)
    assert torch.equal(LaidOut(samples, Layout.upside_down, test=False)[0].target, samples[0].target)
    turned = LaidOut(samples, Layout.upside_down, test=True)[0]
    rows, columns = places(turned)
    assert rows.tolist() == list(range(29, -1, -1)) and columns.tolist() == list(range(40))
    again = upside_down(turned)
    assert torch.equal(again.image, samples[0].image) and torch.equal(again.target, samples[0].target)


@pytest.mark.parametrize("test", [True, False])
def test_crops_show_a_quarter_to_a_half_of_the_picture(test):
    shown = LaidOut(Numbered(200), Layout.crops, test=test)
    shares, turned, tops = [], 0, set()
    for sample in shown:
        rows, columns = places(sample)
        assert columns.diff().eq(1).all() and rows.diff().abs().eq(1).all()
        shares.append(len(rows) * len(columns) / 1200)
        assert len(columns) / len(rows) == pytest.approx(40 / 30, rel=0.06)
        turned += int(rows[0] > rows[-1])
        tops.add(int(rows.min()))
    assert 0.22 < min(shares) < 0.28 and 0.47 < max(shares) < 0.53
    assert 70 < turned < 130
    assert {0, 10} <= tops  # anywhere, edges included


def test_a_crop_depends_on_seed_and_key_alone():
    crops = LaidOut(Numbered(5), Layout.crops, test=False)
    again = LaidOut(Numbered(5), Layout.crops, test=True)
    assert all(torch.equal(crops[index].target, again[index].target) for index in (4, 0, 2))
    assert not torch.equal(crops[0].target, crops[1].target)
    other = LaidOut(Numbered(5), Layout.crops, test=False, seed=1)
    assert any(not torch.equal(crops[index].target, other[index].target) for index in range(5))


def test_slices_and_ends_are_those_of_a_sequence():
    shown = LaidOut(Numbered(4), Layout.usual, test=False)
    assert [sample.key for sample in shown[1:3]] == ["picture 1", "picture 2"]
    with pytest.raises(IndexError):
        shown[4]


def test_a_picture_of_one_pixel_can_be_cropped():
    assert LaidOut(Numbered(1, hw=(1, 1)), Layout.crops, test=False)[0].target.tolist() == [[0]]
