"""The detector: shapes of its pyramid, its coordinates, its training; average precision of boxes that are known."""

import math
from dataclasses import replace

import pytest
import torch
from drawn_rectangles import write_rectangles
from mean_colours import MeanColours

import dvt
from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation import metrics_boxes
from dvt.evaluation.config.detection import DetectionConfig, DetectorConfig
from dvt.evaluation.datasets.boxed_images import TrueBoxes, find_boxed_images
from dvt.evaluation.metrics_boxes import average_precision, require_detection_packages
from dvt.evaluation.probes.detector import Detections, Detector, frame_hw, from_frame, to_frame
from dvt.evaluation.probes.detector_training import mirror_image, train_detector, training_features
from dvt.evaluation.probes.feature_pyramid import SimpleFeaturePyramid
from dvt.grid import PatchGrid
from dvt.methods.method import OnePass
from dvt.progress import SILENT

SIZE = (64, 96)
SMALL = DetectorConfig(channels=16, hidden=32, proposals=40, boxes_per_image=32)


def true(*boxes, labels=None, ignored=None, hw=SIZE):
    count = len(boxes)
    return TrueBoxes(
        "image",
        hw,
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels or [0] * count, dtype=torch.int64),
        torch.tensor(ignored or [False] * count, dtype=torch.bool),
    )


def detected(*boxes, labels=None, scores=None):
    count = len(boxes)
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels or [0] * count, dtype=torch.int64),
        torch.tensor(scores or [0.9] * count),
    )


@pytest.mark.parametrize("fine", [1, 2, 4, 8])
def test_the_levels_have_4_2_1_half_and_a_quarter_cells_per_patch(fine):
    pyramid = SimpleFeaturePyramid(torch.zeros(12), torch.ones(12), 16, fine)
    found = pyramid(torch.randn(2, 4 * fine, 6 * fine, 12))
    assert {name: tuple(each.shape) for name, each in found.items()} == {
        "0": (2, 16, 16, 24),
        "1": (2, 16, 8, 12),
        "2": (2, 16, 4, 6),
        "3": (2, 16, 2, 3),
        "4": (2, 16, 1, 2),
    }


def test_features_are_standardised_before_the_pyramid():
    maps, mean, std = torch.randn(1, 4, 4, 8), torch.randn(8), torch.rand(8) + 0.1
    torch.manual_seed(0)
    plain = SimpleFeaturePyramid(torch.zeros(8), torch.ones(8), 8)
    torch.manual_seed(0)
    scaled = SimpleFeaturePyramid(100 * mean, 100 * std, 8)
    one, other = plain((maps - mean) / std), scaled(100 * maps)
    assert all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)


def test_three_cells_a_patch_do_not_fit():
    with pytest.raises(ConfigError, match="features of 3 x 3 cells a patch do not fit the pyramid"):
        SimpleFeaturePyramid(torch.zeros(8), torch.ones(8), 8, 3)


@pytest.mark.parametrize(
    "grid", [PatchGrid.of((224, 336), 14), PatchGrid.of((56, 84), 14, 7), PatchGrid.of((64, 96), 16).finer(4)]
)
def test_boxes_go_to_the_coordinates_of_the_detector_and_back(grid):
    boxes = torch.tensor([[100.0, 50, 220, 160]])
    there = to_frame(boxes, grid, (200, 400))
    torch.testing.assert_close(from_frame(there, grid, (200, 400)), boxes)
    height, width = frame_hw(grid)
    whole = to_frame(torch.tensor([[0.0, 0, 400, 200]]), grid, (200, 400))
    assert whole.tolist() == [[0, 0, width, height]]


def test_a_patch_is_16_units_whatever_its_pixels():
    grid = PatchGrid.of((42, 42), 14)
    assert frame_hw(grid) == (48, 48)
    assert to_frame(torch.tensor([[14.0, 0, 28, 42]]), grid, (42, 42)).tolist() == [[16, 0, 32, 48]]
    overlapping = PatchGrid.of((28, 28), 14, 7)  # the first patch is 14 px wide, its step the 7 px in its middle
    assert to_frame(torch.tensor([[3.5, 3.5, 10.5, 10.5]]), overlapping, (28, 28)).tolist() == [[0, 0, 16, 16]]


def test_anchors_stand_at_the_strides_of_their_levels_also_where_patches_are_odd():
    grid = PatchGrid.of((7 * 14, 5 * 14), 14)
    detector = Detector(torch.zeros(8), torch.ones(8), grid, 1, SMALL)
    maps = torch.randn(1, 7, 5, 8)
    levels = detector._rcnn.backbone(maps)
    (anchors,) = detector._rcnn.rpn.anchor_generator(detector._images(maps), [*levels.values()])
    assert len(anchors) == 3 * (28 * 20 + 14 * 10 + 7 * 5 + 3 * 2 + 2 * 1)
    middles = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert middles[: 3 * 28 * 20].reshape(28, 20, 3, 2)[3, 5].tolist() == [[20, 12]] * 3
    last = middles[-6:].reshape(2, 1, 3, 2)
    assert last[1, 0].tolist() == [[0, 64]] * 3


def test_what_is_found_lies_in_the_image():
    torch.manual_seed(0)
    detector = Detector(torch.zeros(8), torch.ones(8), PatchGrid.of(SIZE, 16), 3, SMALL)
    found = detector.detect(torch.randn(2, 4, 6, 8), [(64, 96), (200, 100)])
    for each, (height, width) in zip(found, [(64, 96), (200, 100)], strict=True):
        assert len(each.boxes) == len(each.labels) == len(each.scores) > 0
        assert each.boxes.min() >= 0 and each.boxes[:, [0, 2]].max() <= width and each.boxes[:, [1, 3]].max() <= height
        assert set(each.labels.tolist()) <= {0, 1, 2}


def test_images_without_boxes_and_boxes_that_are_ignored_have_a_finite_loss():
    torch.manual_seed(0)
    detector, maps = Detector(torch.zeros(8), torch.ones(8), PatchGrid.of(SIZE, 16), 2, SMALL), torch.randn(2, 4, 6, 8)
    assert detector.losses(maps, [true(), true((0, 0, 9, 9), ignored=[True])]).isfinite()
    assert detector.losses(maps, [true(), true((0, 0, 50, 50))]).isfinite()


@pytest.fixture
def features(tmp_path):
    def compute(method=None, **options):
        config = DetectionConfig(image_size=list(SIZE), detector=SMALL, **options)
        data = find_boxed_images(config, write_rectangles(tmp_path, train=6, test=1))
        found = training_features(method or MeanColours(8), data.train, data.class_names, SIZE, config, SILENT)
        return found, config

    return compute


def loss_of(detector, features):
    torch.manual_seed(0)
    with torch.no_grad():
        return float(detector.losses(features.batch(range(4)), features.truth[:4]))


def test_training_lowers_the_loss(features):
    vit = OnePass("raw", dvt.load_backbone("vit_micro", device="cpu"))
    found, config = features(vit, num_steps=60, warmup_steps=5, learning_rate=2e-3)
    before, after = (train_detector(found, 2, replace(config, num_steps=steps), 0, SILENT) for steps in (1, 60))
    assert loss_of(after, found) < 0.6 * loss_of(before, found)


def test_a_detector_depends_on_its_seed_alone(features):
    found, config = features(num_steps=2)
    before = torch.get_rng_state()
    first = train_detector(found, 2, config, 0, SILENT)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    again, other = (train_detector(found, 2, config, seed, SILENT) for seed in (0, 1))
    for one, two in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    assert any(not torch.equal(one, two) for one, two in zip(first.parameters(), other.parameters(), strict=True))


def test_features_out_of_memory_are_computed_in_every_step(features):
    kept, config = features(num_steps=2, mirrored=True)
    method = MeanColours(8)
    fresh, _ = features(method, num_steps=2, mirrored=True, feature_memory_gb=0)
    assert fresh.kept is None and len(kept.kept) == len(kept.truth) == 12
    passes = len(method.seen)
    for one, two in zip(
        *(train_detector(each, 2, config, 0, SILENT).parameters() for each in (kept, fresh)), strict=True
    ):
        assert torch.equal(one, two)
    assert len(method.seen) == passes + 2


def test_mirror_images_have_features_of_their_own(features):
    """The map of a mirror image is not the mirrored map: the method sees the mirror image."""
    found, _ = features(MeanColours(8, give=with_columns), mirrored=True)
    there, here = found.kept[6], found.kept[0]
    torch.testing.assert_close(there[..., :2], here.flip(1)[..., :2])
    assert torch.equal(there[..., 2], here[..., 2])
    assert found.truth[6].boxes.tolist() == found.truth[0].mirrored().boxes.tolist()
    image = torch.rand(3, 4, 5)
    assert torch.equal(mirror_image(image)[:, :, 0], image[:, :, 4])


def with_columns(features):
    """The third channel is the column: what a ViT may know about the position."""
    features.patches[..., 2] = torch.arange(features.patches.shape[2], dtype=torch.float32)
    return features


def test_mean_and_deviation_are_those_of_all_patches(features):
    found, _ = features()
    tokens = found.kept.flatten(0, 2)
    torch.testing.assert_close(found.mean, tokens.mean(dim=0))
    torch.testing.assert_close(found.std, tokens.std(dim=0, correction=0), atol=1e-5, rtol=1e-4)


def test_a_training_that_diverges_is_named(features):
    found, config = features(num_steps=30, warmup_steps=0, learning_rate=1e30)
    with pytest.raises(EvaluationError, match=r"diverged in step \d+ with learning_rate=1e\+30: give a smaller one"):
        train_detector(found, 2, config, 0, SILENT)


def test_a_perfect_detector_has_an_average_precision_of_one():
    truth = [true((10, 10, 50, 40), (0, 0, 9, 9), labels=[0, 1]), true(), true((5, 5, 60, 60), labels=[1])]
    found = [
        detected((10, 10, 50, 40), (0, 0, 9, 9), labels=[0, 1]), detected(), detected((5, 5, 60, 60), labels=[1]),
    ]  # fmt: skip
    scores = average_precision(found, truth, ("cat", "dog", "elk"))
    assert (scores.mean, scores.mean_50) == pytest.approx((1, 1)) and scores.by_class == pytest.approx(
        {"cat": 1, "dog": 1}
    )


def test_a_box_of_iou_six_tenths_counts_at_half():
    """At the thresholds 0.5, 0.55 and 0.6 of ten."""
    scores = average_precision([detected((0, 0, 62, 10))], [true((0, 0, 100, 10))], ("cat",))
    assert scores.mean_50 == pytest.approx(1) and scores.mean == pytest.approx(0.3)


def test_nothing_found_has_none_and_nothing_annotated_has_no_value():
    assert average_precision([detected()], [true((0, 0, 9, 9))], ("cat",)).mean == 0
    assert math.isnan(average_precision([detected((0, 0, 9, 9))], [true()], ("cat",)).mean)


def test_detections_on_ignored_boxes_do_not_count():
    truth = [true((0, 0, 20, 20), (40, 40, 60, 60), ignored=[False, True])]
    found = [detected((40, 40, 60, 60), (0, 0, 20, 20), scores=[0.9, 0.8])]
    assert average_precision(found, truth, ("cat",)).mean == pytest.approx(1)
    truth = [true((0, 0, 20, 20))]
    assert average_precision(found, truth, ("cat",)).mean == pytest.approx(0.5)


def test_packages_that_are_missing_are_named_with_the_extra(monkeypatch):
    monkeypatch.setattr(metrics_boxes, "find_spec", lambda name: None if name == "pycocotools" else object())
    with pytest.raises(ConfigError, match=r"detection needs pycocotools: pip install 'denoising-vit\[detection\]'"):
        require_detection_packages()
