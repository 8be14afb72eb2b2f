"""Segmentation by patches: probe and nearest centroids on features that are known, and the tasks around them."""

import json
import math

import numpy as np
import pytest
import torch
from mean_colours import MeanColours
from PIL import Image
from recorder import Recorder
from sklearn.linear_model import LogisticRegression
from tiny_camvid import COLOURS, blocks, write_camvid, write_scene
from torch.nn import functional

from dvt.errors import ConfigError, EvaluationError, GeometryError
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.config.segmentation import (
    DptProbeConfig,
    KnnSegmentationConfig,
    LinearProtocol,
    LinearSegmentationConfig,
    PatchProbeConfig,
)
from dvt.evaluation.patches import class_shares
from dvt.evaluation.probes.dpt_segmentation import DptSegmenter
from dvt.evaluation.probes.knn import CentroidBank, class_centroids
from dvt.evaluation.probes.linear import train_probe
from dvt.evaluation.probes.segmenter import train_segmenter
from dvt.evaluation.task import Task
from dvt.evaluation.tasks.knn_segmentation import KnnSegmentation
from dvt.evaluation.tasks.linear_segmentation import LinearSegmentation
from dvt.grid import PatchGrid

ALL = [Layout.usual, Layout.crops, Layout.upside_down]
QUICK = PatchProbeConfig(num_steps=60, batch_size=64, learning_rate=0.1)


def linear(root, **options):
    quick = {"image_size": [48, 64], "layouts": [Layout.usual], "seeds": 2, "patches": QUICK}
    return LinearSegmentation(LinearSegmentationConfig(**(quick | options)), root)


def knn(root, **options):
    quick = {"image_size": [48, 64], "layouts": [Layout.usual]}
    return KnnSegmentation(KnnSegmentationConfig(**(quick | options)), root)


def test_a_probe_separates_what_is_separable():
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (300,), generator=rng)
    tokens = torch.randn(300, 5, generator=rng) * 0.1 + functional.one_hot(labels, 5)
    probe = train_probe(tokens, labels, 3, PatchProbeConfig(num_steps=100, batch_size=64), 0)
    assert (probe(tokens).argmax(dim=1) == labels).float().mean() > 0.99


def test_a_probe_that_is_trained_to_the_end_is_logistic_regression():
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (500,), generator=rng)
    tokens = torch.randn(500, 4, generator=rng) * 3 + 2 * functional.one_hot(labels, 4) + 7
    config = PatchProbeConfig(num_steps=1000, batch_size=1000, learning_rate=0.05, weight_decay=0.0)
    probe = train_probe(tokens, labels, 3, config, 0)
    standardised = (tokens - tokens.mean(dim=0)) / (tokens.std(dim=0) + 1e-6)
    fitted = LogisticRegression(C=1e6, max_iter=1000).fit(standardised.numpy(), labels.numpy())
    expected = torch.from_numpy(fitted.predict_proba(standardised.numpy())).float()
    torch.testing.assert_close(probe(tokens).softmax(dim=1), expected, atol=0.01, rtol=0)


def test_a_head_of_dpt_finds_what_is_finer_than_a_patch(tmp_path):
    """Two features say which half of a patch has which class; a linear probe of patches cannot draw that."""
    rng = torch.Generator().manual_seed(0)
    sides = torch.randint(0, 2, (12, 4, 4), generator=rng)
    features = functional.one_hot(sides, 2).float() + torch.randn(12, 4, 4, 2, generator=rng) * 0.05
    labels = torch.zeros(12, 16, 16, dtype=torch.int64)
    for cell in range(16):  # side 0: class 1 in the left half of the patch; side 1: in the right half
        inside = torch.arange(16) // 4 == cell // 4
        columns = torch.zeros(16, dtype=torch.bool)
        for image in range(12):
            left = 4 * (cell % 4) + 2 * int(sides[image, cell // 4, cell % 4])
            columns[:] = False
            columns[left : left + 2] = True
            labels[image][inside[:, None] & columns] = 1
    config = DptProbeConfig(num_steps=150, width=16, learning_rate=5e-3)
    head = train_segmenter(DptSegmenter(features, 1, 2, config, 0), features, labels, config, 0)
    assert (head(features).argmax(dim=-1) == labels).float().mean() > 0.95
    again = train_segmenter(DptSegmenter(features, 1, 2, config, 0), features, labels, config, 0)
    assert all(torch.equal(one, other) for one, other in zip(head.parameters(), again.parameters(), strict=True))
    with pytest.raises(EvaluationError, match="none of the 12 training images has a label"):
        train_segmenter(head, features, torch.full_like(labels, -1), config, 0)
    with pytest.raises(ConfigError, match="reads up to 4 blocks, not 5"):
        DptSegmenter(torch.rand(2, 4, 4, 10), 5, 2, config, 0)


def test_the_protocol_dpt_scores_by_pixel(tmp_path):
    write_camvid(tmp_path)
    config = DptProbeConfig(num_steps=60, width=8, learning_rate=1e-2)
    task = linear(tmp_path, protocol=LinearProtocol.dpt, dpt=config, patches=PatchProbeConfig())
    scores = task.evaluate(MeanColours())
    assert set(scores.values) == {"mIoU", "mAcc", "aAcc"} and len(scores.values["mIoU"]) == 2
    assert min(scores.values["aAcc"]) > 60 and task.protocol["width"] == 8


def test_void_patches_standardise_but_do_not_train():
    rng = torch.Generator().manual_seed(0)
    tokens, labels = torch.randn(50, 4, generator=rng), torch.randint(0, 2, (50,), generator=rng)
    config = PatchProbeConfig(num_steps=5, batch_size=16)
    more = torch.cat([tokens, torch.full((1, 4), 3.0)])
    probe = train_probe(more, torch.cat([labels, torch.tensor([-1])]), 2, config, 0)
    torch.testing.assert_close(probe.mean, more.mean(dim=0))
    for number in (0, 1):
        moved = train_probe(more, torch.cat([labels, torch.tensor([number])]), 2, config, 0)
        assert not torch.equal(probe.weight, moved.weight)
    again = train_probe(more, torch.cat([labels, torch.tensor([-1])]), 2, config, 0)
    assert torch.equal(probe.weight, again.weight)
    assert not torch.equal(probe.weight, train_probe(tokens, labels, 2, config, 1).weight)


def test_a_probe_that_cannot_be_trained_says_so():
    tokens = torch.randn(4, 2)
    with pytest.raises(EvaluationError, match=r"1 of 4 training patches have a label"):
        train_probe(tokens, torch.tensor([-1, 0, -1, -1]), 2, QUICK, 0)
    with pytest.raises(EvaluationError, match=r"diverged with patches\.learning_rate=1e\+37"):
        train_probe(tokens, torch.tensor([0, 1, 0, 1]), 2, PatchProbeConfig(num_steps=3, learning_rate=1e37), 0)


def test_colours_are_told_apart_by_both_tasks(tmp_path):
    write_camvid(tmp_path)
    for task in (linear(tmp_path), knn(tmp_path, num_neighbours=1)):
        scores = task.evaluate(MeanColours())
        assert isinstance(task, Task) or task.name  # Task is a protocol: it is what mypy checks
        assert scores.values["mIoU"] == pytest.approx([100.0] * len(scores.values["mIoU"]))
        assert min(scores.values["mIoU pixels"]) > 60  # blurred where blocks meet
        assert list(scores.values) == [metric.name for metric in task.metrics] == ["mIoU", "mIoU pixels"]
        json.dumps(scores.details, allow_nan=False)
        json.dumps(task.protocol, allow_nan=False)


def test_seeds_are_probes(tmp_path):
    write_camvid(tmp_path, classes=(0, 1, 2, 3, 4, 5, 6, 7))
    scores = linear(tmp_path, seeds=3, patches=PatchProbeConfig(num_steps=3, batch_size=8)).evaluate(MeanColours())
    values = scores.values["mIoU pixels"]
    assert len(values) == 3 and len(set(values)) > 1
    again = linear(tmp_path, seeds=3, patches=PatchProbeConfig(num_steps=3, batch_size=8)).evaluate(MeanColours())
    assert scores == again


def test_every_layout_has_its_metrics_and_upright_probes_are_shared(tmp_path):
    write_camvid(tmp_path)
    task, method = linear(tmp_path, layouts=ALL), MeanColours()
    scores = task.evaluate(method)
    suffixes = ["", " crops", " upside down"]
    assert list(scores.values) == [f"{name}{end}" for end in suffixes for name in ("mIoU", "mIoU pixels")]
    assert sum(method.seen) == 4 + 3 + 4 + 3 + 3  # train and test, of crops too, and test upside down
    # The colour of a patch does not depend on where it is: turning pictures over costs nothing.
    assert scores.values["mIoU upside down"] == pytest.approx(scores.values["mIoU"])
    assert task.protocol["layouts"] == ["usual", "crops", "upside_down"]


class Rows(MeanColours):
    """Features that say in which row a patch is, and nothing else."""

    def __call__(self, pictures, image_hw):
        features = super().__call__(pictures, image_hw)
        rows = torch.arange(features.patches.shape[1]).float()[None, :, None, None]
        features.patches[:] = torch.cat([rows, rows**2, torch.zeros_like(rows)], dim=-1)
        return features


def test_position_alone_scores_well_unless_pictures_are_turned_over(tmp_path):
    """The trap that the layouts are for: sky above, road below."""
    labels = np.zeros((48, 64), np.uint8)
    labels[24:] = 3
    for split, count in (("train", 12), ("val", 1), ("test", 12)):
        for number in range(count):
            write_scene(tmp_path, split, f"{split}_{number}", labels)
    values = linear(tmp_path, layouts=ALL).evaluate(Rows()).values
    assert min(values["mIoU"]) == 100.0
    assert max(values["mIoU crops"]) < 60
    assert max(values["mIoU upside down"]) == 0.0


def test_classes_that_are_not_there_are_named(tmp_path):
    write_camvid(tmp_path, classes=(0, 1))
    write_scene(tmp_path, "test", "test_9", blocks(np.random.default_rng(1), (0, 3)))
    scores = linear(tmp_path).evaluate(MeanColours())
    left_out, untrained = (note for note in scores.notes if note.startswith("usual, patches"))
    assert "Bicyclist" in left_out and "Road" not in left_out
    assert "Road" in untrained and "Sky" not in untrained
    assert scores.details["usual, patches"]["IoU"]["Road"] == 0.0
    assert set(scores.details["usual, patches"]["IoU"]) == {"Sky", "Building", "Road"}


def test_tests_without_labels_give_no_number(tmp_path):
    write_camvid(tmp_path, classes=(0, 1))
    for path in (tmp_path / "testannot").iterdir():
        Image.fromarray(np.full((48, 64), 11, np.uint8)).save(path)
    for task in (linear(tmp_path), knn(tmp_path)):
        scores = task.evaluate(MeanColours())
        assert all(math.isnan(value) for value in scores.values["mIoU"])
        assert "usual, patches: no test label at all, so there is no value." in scores.notes


def test_training_without_labels_is_refused(tmp_path):
    write_camvid(tmp_path, classes=(11,))
    with pytest.raises(EvaluationError, match=r"0 of 192 training patches have a label"):
        linear(tmp_path).evaluate(MeanColours())
    with pytest.raises(EvaluationError, match=r"none of 4 training images has a labelled pixel"):
        knn(tmp_path).evaluate(MeanColours())


class Broken(MeanColours):
    """One feature is not a number."""

    def __call__(self, pictures, image_hw):
        features = super().__call__(pictures, image_hw)
        features.patches[0, 0, 0, 0] = math.nan
        return features


def test_features_that_are_no_numbers_are_refused(tmp_path):
    write_camvid(tmp_path)
    with pytest.raises(EvaluationError, match=r"raw gives features that are NaN or infinite"):
        linear(tmp_path).evaluate(Broken())


def test_a_size_that_does_not_fit_is_refused(tmp_path):
    write_camvid(tmp_path)
    with pytest.raises(GeometryError):
        linear(tmp_path, image_size=50).evaluate(MeanColours())


def test_overlapping_patches_work(tmp_path):
    write_camvid(tmp_path)
    assert min(linear(tmp_path).evaluate(MeanColours(patch=8, stride=4)).values["mIoU"]) > 60


def test_progress_is_reported(tmp_path):
    write_camvid(tmp_path)
    recorder = Recorder()
    linear(tmp_path).evaluate(MeanColours(), recorder)
    assert recorder.works == [["images", 4, 4], ["probes", 2, 2], ["images", 3, 3]]


def test_centroids_are_means_over_the_pixels_of_a_class():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(-1, 4, (16, 24)))
    labels[labels == 2] = 0
    patches, grid = torch.randn(4, 6, 5), PatchGrid.of((16, 24), 4)
    centroids, classes = class_centroids(patches, labels, grid, 5)
    at_pixels = patches.repeat_interleave(4, dim=0).repeat_interleave(4, dim=1)
    assert classes.tolist() == [0, 1, 3]
    expected = torch.stack([at_pixels[labels == number].mean(dim=0) for number in classes.tolist()])
    torch.testing.assert_close(centroids, expected, atol=1e-5, rtol=1e-5)


def test_votes_are_weighted_by_cosine():
    centroids = functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 0.0]]), dim=1)
    bank = CentroidBank(centroids, torch.tensor([0, 1, 1, 2]), num_classes=4, num_neighbours=3, temperature=0.5)
    votes = bank(torch.tensor([5.0, 0.0]).reshape(1, 1, 1, 2))[0, 0, 0]
    weights = torch.tensor([1.0, 0.5**0.5, 0.0]).div(0.5).exp()
    expected = torch.tensor([weights[0], weights[1] + weights[2], 0.0, 0.0]) / weights.sum()
    torch.testing.assert_close(votes, expected)


def test_a_bank_in_parts_votes_as_in_one(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    centroids = functional.normalize(torch.randn(40, 6, generator=rng), dim=1)
    bank = CentroidBank(centroids, torch.randint(0, 5, (40,), generator=rng), 5, 20, 0.07)
    maps = torch.randn(2, 3, 4, 6, generator=rng)
    whole = bank(maps)
    monkeypatch.setattr("dvt.evaluation.probes.knn._MOST_SIMILARITIES", 100)
    torch.testing.assert_close(bank(maps), whole)
    torch.testing.assert_close(whole.sum(dim=-1), torch.ones(2, 3, 4))


def test_many_neighbours_outvote_the_nearest(tmp_path):
    """A rare class loses when all centroids vote alike: the options do what they say."""
    write_camvid(tmp_path, counts=(6, 1, 3), classes=(0, 1))
    write_scene(tmp_path, "train", "train_9", blocks(np.random.default_rng(1), (3,)))
    write_scene(tmp_path, "test", "test_9", blocks(np.random.default_rng(1), (3,)))
    few = knn(tmp_path, num_neighbours=1).evaluate(MeanColours()).details["usual, patches"]["IoU"]
    many = knn(tmp_path, num_neighbours=13, temperature=1e6).evaluate(MeanColours()).details["usual, patches"]["IoU"]
    assert few["Road"] == 100.0 and many["Road"] == 0.0


def test_shares_of_classes_by_hand():
    labels = torch.tensor([[0, 0, 1, -1], [0, 2, -1, -1]])
    shares = class_shares(labels, PatchGrid.of((2, 4), 2), 3)
    assert shares[:, 0].T.tolist() == [[0.75, 0, 0.25, 0], [0, 0.25, 0, 0.75]]


def test_colours_of_the_tiny_scenes_differ():
    assert len(np.unique(COLOURS, axis=0)) == 12


def test_an_image_size_and_windows_do_not_go_together(tmp_path):
    write_camvid(tmp_path)
    with pytest.raises(ConfigError, match=r"image_size=\[48, 64\] has no effect with protocol=windows"):
        linear(tmp_path, protocol=LinearProtocol.windows)
    with pytest.raises(ConfigError, match=r"image_size='big'"):
        linear(tmp_path, image_size="big")
