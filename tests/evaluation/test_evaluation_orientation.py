"""Images with an EXIF orientation, and labels that are read as they are."""

import logging

import pytest
import torch
from PIL import Image

from dvt.errors import EvaluationError
from dvt.evaluation.datasets.masks import read_mask
from dvt.evaluation.datasets.samples import FileSamples, SampleFiles


@pytest.fixture
def pair(tmp_path):
    """pair(orientation, labels) -> files of a 6 x 4 px image and its labels."""

    def make(orientation, hw):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
        Image.new("L", (hw[1], hw[0])).save(tmp_path / "a.png")
        return SampleFiles("a", tmp_path / "a.jpg", tmp_path / "a.png")

    return make


def zeros(path):
    with Image.open(path) as image:
        return torch.zeros(image.size[::-1], dtype=torch.int64)


def test_the_error_about_sizes_says_that_the_image_was_turned(pair):
    files = pair(6, (4, 6))
    with pytest.raises(
        EvaluationError, match=r"a.jpg is turned upright by its EXIF orientation \(6\); labels are read"
    ):
        FileSamples([files], zeros)[0]
    with pytest.raises(EvaluationError, match=r"a.jpg is turned upright by its EXIF orientation \(6\)"):
        read_mask(files.target).check_hw((6, 4), "its image has", files.image)
    files = pair(1, (6, 4))
    with pytest.raises(EvaluationError, match=r"do they belong together\? Read from [^;]*$"):
        FileSamples([files], zeros)[0]


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_labels_of_the_same_size_are_warned_of_once_a_folder(pair, orientation, caplog):
    files = pair(orientation, (4, 6))
    with caplog.at_level(logging.WARNING):
        FileSamples([files, files], zeros)[:2]
        read_mask(files.target).check_hw((4, 6), "its image has", files.image)
    (message,) = caplog.messages
    assert (
        f"a.jpg is turned upright by its EXIF orientation ({orientation})" in message and "turn the labels" in message
    )
    caplog.clear()


def test_upright_images_are_not_warned_of(pair, caplog):
    files = pair(1, (4, 6))
    assert FileSamples([files], zeros)[0].target.shape == (4, 6) and not caplog.messages
