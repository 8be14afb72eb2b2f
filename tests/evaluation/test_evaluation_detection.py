"""Detection as a task, on drawn rectangles."""

import json
import math

import pytest
import torch
from coloured_objects import write_davis
from drawn_rectangles import annotation, write_rectangles
from mean_colours import MeanColours
from recorder import Recorder

import dvt
from dvt.errors import ConfigError, EvaluationError, GeometryError
from dvt.evaluation import metrics_boxes
from dvt.evaluation.config.detection import DetectionConfig, DetectorConfig
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.table import protocol_text
from dvt.evaluation.tasks.detection import Detection
from dvt.methods.method import OnePass
from dvt.methods.position import WithRemoved, WithSinCos

SMALL = {
    "image_size": [64, 96],
    "num_steps": 4,
    "warmup_steps": 2,
    "seeds": 2,
    "detector": DetectorConfig(channels=16, hidden=32, proposals=40, boxes_per_image=32),
}


def detection(root, **options):
    return Detection(DetectionConfig(**{**SMALL, **options}), root)


@pytest.fixture(scope="module")
def denoised():
    return dvt.load_denoised(weights="vit_micro/denoiser", device="cpu")[0]


def test_methods_side_by_side_from_python(tmp_path, denoised):
    raw, clean = OnePass("raw", denoised.backbone), OnePass("denoised", denoised)
    methods = [raw, clean, WithRemoved(clean, raw, 0.5), WithSinCos(clean, 1.0)]
    config = DetectionConfig(**SMALL)
    data = write_rectangles(tmp_path / "voc", train=4, test=2)
    result = dvt.evaluate("detection", methods, data, config, out=tmp_path / "out")
    assert list(result.rows) == ["raw", "denoised", "denoised+position0.5", "denoised+sincos1"]
    assert [row.passes for row in result.rows.values()] == [1, 1, 2, 1]
    for row in result.rows.values():
        assert all(
            len(values) == 2 and all(0 <= each <= 100 for each in values) for values in row.scores.values.values()
        )
        assert set(row.scores.details["usual, mAP by class"]) == {"blue", "red"}
    assert [metric.name for metric in result.metrics] == ["mAP", "mAP50"]
    written = json.loads((tmp_path / "out/detection.json").read_text())
    assert written["protocol"]["train_images"] == 4 and written["protocol"]["detector"]["channels"] == 16
    recorder = Recorder()
    again = dvt.evaluate("detection", methods, data, config, out=tmp_path / "out", reporter=recorder)
    assert all("scored before" in note for note in recorder.notes)
    assert {name: row.scores for name, row in again.rows.items()} == {
        name: row.scores for name, row in result.rows.items()
    }
    with pytest.raises(EvaluationError, match="num_steps: 4 in the file, 5 in the request"):
        dvt.evaluate("detection", methods, data, DetectionConfig(**{**SMALL, "num_steps": 5}), out=tmp_path / "out")


def test_two_runs_give_the_same_scores(tmp_path):
    task, recorder = detection(write_rectangles(tmp_path, train=4, test=2)), Recorder()
    torch.manual_seed(1)
    first = task.evaluate(MeanColours(), recorder)
    torch.manual_seed(2)
    assert task.evaluate(MeanColours()) == first
    assert recorder.works == [["images", 4, 4], ["steps", 8, 8], ["images", 2, 2]]
    assert first.notes == ("usual, 2 true boxes in 2 test images",)


def test_davis_says_how_few_videos_there_are(tmp_path):
    write_davis(tmp_path, sequences=("a", "b", "c"), frames=3)
    task = detection(tmp_path, every=1, seeds=1)
    result = dvt.evaluate(task, [MeanColours()], tmp_path)
    assert "train sequences a/b, test sequences c, every 1" in protocol_text(result)
    scores = result.rows["raw"].scores
    (note,) = scores.notes
    assert note.startswith("usual, 3 true boxes in 3 test images of 1 videos: frames of one video are alike")
    assert note.endswith("does not contain the choice of videos")
    assert task.protocol["train_sequences"] == ["a", "b"] and task.protocol["test_sequences"] == ["c"]


def test_a_layout_upside_down_has_scores_of_its_own(tmp_path):
    task = detection(write_rectangles(tmp_path, train=2, test=2), layouts=[Layout.usual, Layout.upside_down], seeds=1)
    method = MeanColours()
    scores = task.evaluate(method)
    assert set(scores.values) == {"mAP", "mAP50", "mAP upside down", "mAP50 upside down"}
    assert [metric.name for metric in task.metrics] == [*scores.values] and len(method.seen) == 3


def test_a_class_without_training_boxes_is_named(tmp_path):
    write_rectangles(tmp_path, train=2, test=2, colours=("red",))
    (tmp_path / "Annotations/test001.xml").write_text(annotation([("blue", (0, 0, 30, 30), False)]))
    scores = detection(tmp_path, seeds=1).evaluate(MeanColours())
    assert scores.notes[0] == "usual, no training image has a box of these classes, so that none can be found: blue"
    assert scores.details["usual, mAP by class"]["blue"] == [0.0]


def test_one_class_is_enough(tmp_path):
    scores = detection(write_rectangles(tmp_path, train=2, test=2, colours=("red",)), seeds=1).evaluate(MeanColours())
    assert set(scores.details["usual, mAP by class"]) == {"red"} and not math.isnan(scores.values["mAP"][0])


def test_masks_without_an_object_are_refused(tmp_path):
    write_davis(tmp_path, sequences=("a", "swan"))
    for path in (tmp_path / "Annotations/480p/a").iterdir():
        path.write_bytes((tmp_path / "Annotations/480p/swan/00002.png").read_bytes())
    with pytest.raises(EvaluationError, match="none of the 1 training images has an object: there is nothing to learn"):
        detection(tmp_path, test_sequences=["swan"]).evaluate(MeanColours())
    with pytest.raises(EvaluationError, match="none of the 1 test images has an object: there is nothing to score"):
        detection(tmp_path, test_sequences=["a"], num_steps=1, seeds=1).evaluate(MeanColours())


def test_bad_sizes_and_missing_packages_are_refused_before_the_work(tmp_path, monkeypatch):
    write_rectangles(tmp_path, train=1, test=1)
    with pytest.raises(GeometryError, match="65"):
        detection(tmp_path, image_size=65).evaluate(MeanColours())
    with pytest.raises(ConfigError, match="image_size"):
        detection(tmp_path, image_size="large")
    with pytest.raises(ConfigError, match="features of 3 x 3 cells a patch"):
        detection(tmp_path).evaluate(Thirds())
    monkeypatch.setattr(metrics_boxes, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="detection needs torchmetrics, pycocotools"):
        detection(tmp_path)


class Thirds(MeanColours):
    """Three cells a patch."""

    def grid_for(self, image_hw):
        return super().grid_for(image_hw).finer(3)

    def __call__(self, images, image_hw):
        raise AssertionError("features are not needed to see that they do not fit")


@pytest.mark.slow
def test_rectangles_are_found(tmp_path, denoised):
    task = detection(
        write_rectangles(tmp_path, train=40, test=12),
        image_size=[128, 192],
        num_steps=200,
        warmup_steps=20,
        learning_rate=1e-3,
        seeds=1,
        detector=DetectorConfig(channels=32, hidden=64, proposals=100, boxes_per_image=64),
    )
    scores = task.evaluate(OnePass("raw", denoised.backbone))
    assert scores.values["mAP50"][0] > 90 and scores.values["mAP"][0] > 60, scores.values
