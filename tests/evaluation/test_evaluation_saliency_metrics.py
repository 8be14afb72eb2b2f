"""Metrics of masks against scikit-learn and by hand, and saliency as a task."""

import math

import numpy as np
import pytest
import torch
from coloured_objects import BOX, HW, mask_array, save_mask_with_void, write_davis, write_folders
from mean_colours import MeanColours
from PIL import Image
from sklearn.metrics import accuracy_score, fbeta_score, jaccard_score

from dvt.evaluation.discovery.config import Algorithm, DataFormat, SaliencyConfig
from dvt.evaluation.discovery.found import FoundObject
from dvt.evaluation.discovery.saliency import Saliency, in_pixels
from dvt.evaluation.discovery.saliency_metrics import accuracy, f_scores, mask_iou

OBJECT = 32 * 24
"""Pixels of the rectangle."""
CUT = 4 * 6
"""Pixels that interpolation cuts off at its corners."""


def random_masks(number):
    generator = torch.Generator().manual_seed(number)
    soft, truth = torch.rand(13, 17, generator=generator), torch.rand(13, 17, generator=generator) > 0.7
    return (soft + 0.5 * truth) / 1.5, truth


@pytest.mark.parametrize("number", range(3))
def test_metrics_agree_with_scikit_learn(number):
    soft, truth = random_masks(number)
    scores = f_scores(soft, truth)
    assert scores.shape == (255,)
    for index in (0, 1, 60, 128, 200, 254):
        expected = fbeta_score(
            truth.flatten(), soft.flatten() > np.float64(index) / 255, beta=math.sqrt(0.3), zero_division=0.0
        )
        assert float(scores[index]) == pytest.approx(expected, abs=1e-6)
    mask = soft > 0.5
    assert mask_iou(mask, truth) == pytest.approx(jaccard_score(truth.flatten(), mask.flatten()), abs=1e-6)
    assert accuracy(mask, truth) == pytest.approx(accuracy_score(truth.flatten(), mask.flatten()), abs=1e-6)


def test_f_by_hand():
    """Above 0.5: two pixels, one of the two of the object. P = R = 1/2, so that F = 1/2 for any beta."""
    soft = torch.tensor([[0.9, 0.8, 0.2, 0.0]])
    truth = torch.tensor([[True, False, True, False]])
    scores = f_scores(soft, truth)
    assert float(scores[128]) == pytest.approx(0.5)
    assert float(scores[0]) == pytest.approx(1.3 * (2 / 3) / (0.3 * (2 / 3) + 1))  # P = 2/3, R = 1
    assert float(scores[240]) == 0
    assert float(f_scores(truth.float(), truth).min()) == 1


def test_f_is_exact_to_the_last_digits_of_float64():
    """In float32 1.3 * 2 / (0.3 * 3 + 4) is off by 2e-8."""
    soft, truth = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.0]]), torch.tensor([[True, True, False, False, True]])
    scores = f_scores(soft, truth)
    assert scores.dtype == torch.float64
    assert float(scores[100]) == pytest.approx(1.3 * 2 / (0.3 * 3 + 4), rel=1e-14)


def test_a_value_equal_to_a_threshold_is_not_above_it():
    scores = f_scores(torch.tensor([[51 / 255, 0.0]], dtype=torch.float64), torch.tensor([[True, False]]))
    assert scores[50] == 1 and scores[51] == 0


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
    assert mask_iou(pixels, inside) == pytest.approx(1 - CUT / 256)
    assert float(soft[16, 24]) == 1 and 0 < float(soft[16, 33]) < 0.5 and float(soft[0, 0]) == 0


def test_a_rectangle_is_found(tmp_path):
    task = Saliency(SaliencyConfig(centre=True, every=1), write_davis(tmp_path))
    scores = task.evaluate(MeanColours())
    assert scores.values["maxF"][0] > 99
    assert scores.values["IoU"][0] == pytest.approx(100 * (1 - CUT / OBJECT))
    assert scores.values["accuracy"][0] == pytest.approx(100 * (1 - CUT / (HW[0] * HW[1])))
    assert scores.notes == ("1 picture left out, for no object is marked in it: swan/00002",)
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
    assert scores.notes == ("1 picture with pixels marked as void, which are left out of the count: 1",)


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


def test_the_threshold_of_max_f_is_shared_by_all_pictures(tmp_path, monkeypatch):
    """Two pictures whose best thresholds differ: the best of the mean is less than the mean of the bests."""
    curves = iter([torch.tensor([1.0, 0.0]).repeat(128)[:255], torch.tensor([0.2, 0.9]).repeat(128)[:255]])
    monkeypatch.setattr("dvt.evaluation.discovery.saliency.f_scores", lambda soft, truth: next(curves).double())
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
    assert scores.notes[0].startswith("3 pictures left out") and scores.notes[1] == "no picture was left to score"


def test_features_that_are_all_alike_have_an_empty_mask(tmp_path):
    class Blind(MeanColours):
        def __call__(self, pictures, image_hw):
            features = super().__call__(pictures, image_hw)
            features.patches[:] = 0.5
            return features

    scores = Saliency(SaliencyConfig(), write_folders(tmp_path)).evaluate(Blind())
    background = 100 * (1 - float((mask_array() > 0).mean()))
    assert scores.values["maxF"] == (0.0,) and scores.values["IoU"] == (0.0,)
    assert scores.values["accuracy"][0] == pytest.approx(background)
    assert "nothing was found; counted as missed" in scores.notes[0]
