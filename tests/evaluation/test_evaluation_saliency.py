"""Saliency as a task."""

import math

import numpy as np
import pytest
import torch
from coloured_objects import BOX, HW, mask_array, save_mask_with_void, write_davis, write_folders
from mean_colours import MeanColours, constant
from PIL import Image

from dvt.evaluation.config.objects import Algorithm, DataFormat, SaliencyConfig
from dvt.evaluation.metrics_masks import region_similarity
from dvt.evaluation.probes.lost_tokencut import FoundObject
from dvt.evaluation.tasks.saliency import Saliency, in_pixels

OBJECT = 32 * 24
"""Pixels of the rectangle."""
CUT = 4 * 6
"""Pixels that interpolation cuts off at its corners."""


def test_maps_are_interpolated_between_patches():
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[1:3, 2:4] = True
    found = FoundObject(mask=mask, soft=mask.float())
    pixels, soft = in_pixels(found, (32, 48))
    inside = torch.zeros(32, 48, dtype=torch.bool)
    inside[8:24, 16:32] = True
    assert not (pixels & ~inside).any()
    # Bilinear weights at the corners: 9/16, 11/16, 13/16, ... from the edge; six products are below one half.
    assert (inside & ~pixels)[8:16, 16:24].nonzero().tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0]]
    assert region_similarity(pixels.numpy(), inside.numpy()) == pytest.approx(1 - CUT / 256)
    assert float(soft[16, 24]) == 1 and 0 < float(soft[16, 33]) < 0.5 and float(soft[0, 0]) == 0


def test_a_rectangle_is_found(tmp_path):
    task = Saliency(SaliencyConfig(centre=True, every=1), write_davis(tmp_path))
    scores = task.evaluate(MeanColours())
    assert scores.values["maxF"][0] > 99
    assert scores.values["IoU"][0] == pytest.approx(100 * (1 - CUT / OBJECT))
    assert scores.values["accuracy"][0] == pytest.approx(100 * (1 - CUT / (HW[0] * HW[1])))
    assert scores.notes == ("1 image left out, no object is marked in it: swan/00002",)
    assert scores.details["IoU by sequence"].keys() == {"dog", "swan"}
    assert [metric.name for metric in task.metrics] == list(scores.values)
    assert task.protocol["algorithm"] == "tokencut" and task.protocol["format"] == "davis"


def test_void_pixels_are_left_out_of_every_count(tmp_path):
    """What the mask cuts off at the corners is wrong; the border of void is neither right nor wrong."""
    write_folders(tmp_path, count=2)
    save_mask_with_void(tmp_path / "masks" / "1.png", border=4)
    void = (32 + 8) * (24 + 8) - OBJECT
    scores = Saliency(SaliencyConfig(centre=True), tmp_path).evaluate(MeanColours())
    assert scores.values["IoU"][0] == pytest.approx(100 * (1 - CUT / OBJECT))
    shares = [1 - CUT / pixels for pixels in (HW[0] * HW[1], HW[0] * HW[1] - void)]
    assert scores.values["accuracy"][0] == pytest.approx(100 * sum(shares) / 2)
    assert scores.notes == ("1 image with void pixels, which are not counted: 1",)


def test_what_is_found_in_the_void_counts_for_nothing(tmp_path):
    """Everything right of the rectangle's left half is void: half a rectangle is there to be found, and is."""
    write_folders(tmp_path, count=1)
    numbers = np.zeros(HW, np.uint8)
    numbers[:, (BOX[0] + BOX[2]) // 2 :] = 255
    numbers[BOX[1] : BOX[3], BOX[0] : (BOX[0] + BOX[2]) // 2] = 1
    Image.fromarray(numbers).save(tmp_path / "masks" / "0.png")
    scores = Saliency(SaliencyConfig(centre=True), tmp_path).evaluate(MeanColours())
    assert scores.values["IoU"][0] == pytest.approx(100 * (1 - CUT / OBJECT))
    assert scores.values["maxF"][0] > 99


def test_the_threshold_of_max_f_is_shared_by_all_images(tmp_path, monkeypatch):
    """Two images whose best thresholds differ: the best of the mean is less than the mean of the bests."""
    curves = iter([torch.tensor([1.0, 0.0]).repeat(128)[:255], torch.tensor([0.2, 0.9]).repeat(128)[:255]])
    monkeypatch.setattr("dvt.evaluation.tasks.saliency.f_scores", lambda soft, truth: next(curves).double())
    scores = Saliency(SaliencyConfig(), write_folders(tmp_path, count=2)).evaluate(MeanColours())
    assert scores.values["maxF"][0] == pytest.approx(60)


def test_lost_serves_too_and_folders_are_named(tmp_path):
    config = SaliencyConfig(algorithm=Algorithm.lost, format=DataFormat.folders, images="a", masks="b")
    scores = Saliency(config, write_folders(tmp_path, images="a", masks="b")).evaluate(MeanColours())
    assert scores.values["IoU"][0] == pytest.approx(100 * (1 - CUT / OBJECT)) and scores.details == {
        "IoU by sequence": {}
    }


def test_only_empty_masks_give_no_value_and_say_so(tmp_path):
    write_davis(tmp_path)
    config = SaliencyConfig(sequences=["swan"], every=2)
    for path in (tmp_path / "Annotations/480p/swan").iterdir():
        path.write_bytes((tmp_path / "Annotations/480p/swan/00002.png").read_bytes())
    scores = Saliency(config, tmp_path).evaluate(MeanColours())
    assert all(math.isnan(value) for (value,) in scores.values.values())
    assert scores.notes[0].startswith("3 images left out") and scores.notes[1] == "no image was left to score"


def test_constant_features_have_an_empty_mask(tmp_path):
    scores = Saliency(SaliencyConfig(), write_folders(tmp_path)).evaluate(MeanColours(give=constant))
    background = 100 * (1 - float((mask_array() > 0).mean()))
    assert scores.values["maxF"] == (0.0,) and scores.values["IoU"] == (0.0,)
    assert scores.values["accuracy"][0] == pytest.approx(background)
    assert "nothing was found; counted as missed" in scores.notes[0]
