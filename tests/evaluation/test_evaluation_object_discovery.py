"""Object discovery as a task, on images with known objects."""

import json
import math

import pytest
import torch
from coloured_objects import BOX, HW, save_image, save_mask_with_void, write_davis, write_folders, write_voc
from mean_colours import MeanColours, constant
from recorder import Recorder

from dvt.errors import EvaluationError
from dvt.evaluation.boxes import Box
from dvt.evaluation.config.objects import Algorithm, ObjectDiscoveryConfig, SeedRule
from dvt.evaluation.one_object import BATCH_SIZE, found_objects, nearest_hw
from dvt.evaluation.tasks.object_discovery import ObjectDiscovery
from dvt.methods.zoom import Enlarged

MIDDLE = "for comparison: the same box in the middle of every image, half its area, has CorLoc 0.0"


def discovery(root, **options):
    return ObjectDiscovery(ObjectDiscoveryConfig(**options), root)


def test_a_rectangle_is_found_on_davis(tmp_path):
    task, recorder = discovery(write_davis(tmp_path), every=1), Recorder()
    scores = task.evaluate(MeanColours(), recorder)
    assert scores.values == {"CorLoc": (100.0,), "box IoU": (100.0,)}
    assert scores.details == {"CorLoc by sequence": {"dog": 100.0, "swan": 100.0}}
    assert scores.notes == ("1 image left out, no object is marked in it: swan/00002", MIDDLE)
    assert recorder.works == [["images", 10, 10]]
    assert json.loads(json.dumps(task.protocol))["images"] == 10


def test_tokencut_finds_it_too(tmp_path):
    task = discovery(write_davis(tmp_path), algorithm=Algorithm.tokencut, centre=True)
    assert task.evaluate(MeanColours()).values["CorLoc"] == (100.0,)
    assert task.protocol["tau"] == 0.2 and "seed" not in task.protocol


def test_images_of_voc_without_a_box_are_left_out_and_named(tmp_path):
    scores = discovery(write_voc(tmp_path)).evaluate(MeanColours())
    assert scores.values == {"CorLoc": (100.0,), "box IoU": (100.0,)}
    assert scores.notes == ("1 image left out, no object is marked in it: 000001", MIDDLE)


@pytest.mark.parametrize(("width", "hit"), [(64, 100.0), (66, 0.0)])
def test_a_hit_is_an_iou_of_at_least_one_half(tmp_path, width, hit):
    """The rectangle that is found is 32 px wide; the box that counts is made wider."""
    write_voc(tmp_path, boxes=((BOX,),))
    path = tmp_path / "Annotations" / "000000.xml"
    path.write_text(path.read_text().replace("<xmax>56", f"<xmax>{24 + width}"))
    scores = discovery(tmp_path).evaluate(MeanColours())
    assert scores.values["CorLoc"] == (hit,)
    assert scores.values["box IoU"][0] == pytest.approx(100 * 32 / width)


def test_a_box_in_the_middle_is_the_baseline(tmp_path):
    write_voc(tmp_path, boxes=(((14, 10, 82, 54),), (BOX,)))
    scores = discovery(tmp_path).evaluate(MeanColours())
    assert scores.notes == (MIDDLE.replace("0.0", "50.0"),)


def test_data_without_any_box_are_refused(tmp_path):
    with pytest.raises(EvaluationError, match="none of the 2 images has a box"):
        discovery(write_voc(tmp_path, boxes=((), ())))
    write_voc(tmp_path, difficult=1)
    with pytest.raises(EvaluationError, match="except difficult ones"):
        discovery(tmp_path, difficult=False)


def test_no_mask_with_an_object_gives_no_value_and_says_so(tmp_path):
    write_davis(tmp_path)
    scores = discovery(tmp_path, sequences=["swan"], every=2, num_test=2).evaluate(MeanColours())
    assert scores.values["CorLoc"] == (100.0,)
    for sequence in ("swan", "dog"):
        for path in (tmp_path / "Annotations/480p" / sequence).iterdir():
            path.write_bytes((tmp_path / "Annotations/480p/swan/00002.png").read_bytes())
    scores = discovery(tmp_path).evaluate(MeanColours())
    assert math.isnan(scores.values["CorLoc"][0]) and math.isnan(scores.values["box IoU"][0])
    assert scores.notes[-1] == "no image was left to score"


def test_constant_features_count_as_missed(tmp_path):
    scores = discovery(write_folders(tmp_path)).evaluate(MeanColours(give=constant))
    assert scores.values == {"CorLoc": (0.0,), "box IoU": (0.0,)}
    assert "3 images with constant features" in scores.notes[0]


def test_features_that_are_not_finite_are_refused(tmp_path):
    broken = MeanColours(see=lambda images: [image.fill_(math.nan) for image in images])
    with pytest.raises(EvaluationError, match="raw gives features that are NaN"):
        discovery(write_folders(tmp_path)).evaluate(broken)


def test_boxes_are_mapped_back_from_another_size(tmp_path):
    scores = discovery(write_folders(tmp_path), image_size=128).evaluate(MeanColours())
    assert scores.values["box IoU"] == (100.0,)
    zoomed = discovery(tmp_path).evaluate(Enlarged(MeanColours(), 2))
    assert zoomed.values["box IoU"] == (100.0,)


def test_images_of_different_sizes_are_not_mixed_in_a_batch():
    sizes = [HW] * (BATCH_SIZE + 1) + [(48, 64)] + [HW] * 2
    method = MeanColours()
    images = ((number, torch.rand(3, *hw)) for number, hw in enumerate(sizes))
    found = list(found_objects(method, images, ObjectDiscoveryConfig()))
    assert method.seen == [BATCH_SIZE, 1, 1, 2]
    assert [truth for truth, _, _ in found] == list(range(len(sizes)))
    assert [grid.image_hw for _, _, grid in found] == sizes


@pytest.mark.parametrize(
    ("image_hw", "short_side", "stride", "expected"),
    [((480, 854), None, 16, (480, 848)), ((480, 856), None, 16, (480, 848)), ((480, 857), None, 16, (480, 864)),
     ((480, 854), 240, 16, (240, 432)), ((100, 50), 32, 16, (64, 32)), ((5, 300), None, 16, (16, 304)),
     ((30, 100), None, 6, (28, 100))],
)  # fmt: skip
def test_sizes_are_rounded_to_the_nearest_that_fits(image_hw, short_side, stride, expected):
    assert nearest_hw(MeanColours(16, stride), image_hw, short_side) == expected


def test_norm_as_seed_runs_and_is_in_the_protocol(tmp_path):
    task = discovery(write_folders(tmp_path), seed=SeedRule.norm)
    assert task.protocol["seed"] == "norm" and task.protocol["short side"] == "own"
    assert task.evaluate(MeanColours()).values["CorLoc"] == (100.0,)


def test_a_mask_of_another_size_is_refused(tmp_path):
    write_folders(tmp_path)
    save_image(tmp_path / "images" / "1.jpg", hw=(32, 32), box=None)
    with pytest.raises(EvaluationError, match="do they belong together"):
        discovery(tmp_path).evaluate(MeanColours())


def test_the_void_around_an_object_is_no_object(tmp_path):
    write_folders(tmp_path, count=1)
    save_mask_with_void(tmp_path / "masks" / "0.png")
    task = discovery(tmp_path)
    assert task._truth(task._scenes[0], HW) == ((Box(*BOX),), HW)
    assert task.evaluate(MeanColours()).values["box IoU"] == (100.0,)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_two_runs_give_the_same_scores(tmp_path, algorithm):
    write_folders(tmp_path, count=2, box=None)
    task = discovery(tmp_path, algorithm=algorithm)
    assert task.evaluate(MeanColours()) == task.evaluate(MeanColours())
