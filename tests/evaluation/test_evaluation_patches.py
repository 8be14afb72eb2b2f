"""What tasks on patches share: batches, targets beside them, and labels of patches against loops."""

import math

import numpy as np
import pytest
import torch
from mean_colours import MeanColours
from recorder import Recorder

from dvt.errors import EvaluationError
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.patches import (
    BATCH_SIZE,
    class_shares,
    features_and_targets,
    features_of,
    finite_features,
    majority_labels,
)
from dvt.grid import PatchGrid
from dvt.progress import SILENT

COUNT = 2 * BATCH_SIZE + 3


def samples(count=COUNT):
    rng = torch.Generator().manual_seed(0)
    return [
        Sample(str(n), torch.rand(3, 20 + n % 3, 30, generator=rng), torch.full((20 + n % 3, 30), n))
        for n in range(count)
    ]


def test_pictures_are_read_when_their_batch_comes():
    method, recorder, read = MeanColours(), Recorder(), []
    recorder.start(COUNT, "images")

    def pictures():
        for number in range(COUNT):
            read.append(number)
            yield torch.rand(3, 24, 24)

    for features in features_of(method, pictures(), COUNT, (16, 24), recorder):
        assert len(read) == sum(method.seen)
        assert recorder.works == [["images", sum(method.seen[:-1]), COUNT]]
        assert features.patches.shape[1:] == (2, 3, 3)
    assert method.seen == [BATCH_SIZE, BATCH_SIZE, 3]
    assert recorder.works == [["images", COUNT, COUNT]]


def test_targets_stay_with_their_features():
    some = samples()
    for features, targets in features_and_targets(MeanColours(), some, (16, 24), SILENT):
        for patches, target in zip(features.patches, targets, strict=True):
            alone = MeanColours()([some[int(target[0, 0])].image], (16, 24)).patches[0]
            torch.testing.assert_close(patches, alone)


def test_targets_of_a_batch_are_the_readers_to_keep():
    kept = [targets for _, targets in features_and_targets(MeanColours(), samples(), (16, 24), SILENT)]
    assert [len(targets) for targets in kept] == [BATCH_SIZE, BATCH_SIZE, 3]


@pytest.mark.parametrize("where", ["patches", "prefix"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_no_numbers_are_refused(where, value):
    class Broken(MeanColours):
        def __call__(self, pictures, image_hw):
            features = super().__call__(pictures, image_hw)
            getattr(features, where)[-1, -1] = value
            return features

    with pytest.raises(EvaluationError, match=r"raw gives features that are NaN or infinite.*precision=fp16"):
        finite_features(Broken(), [torch.rand(3, 16, 16)], (16, 16))


@pytest.mark.parametrize("stride", [4, 2])
def test_majorities_and_shares_agree_with_a_loop(stride):
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(-1, 3, (12, 16)))
    labels[:4, :4] = -1
    labels[0, 0] = 2
    grid = PatchGrid.of((12, 16), 4, stride)
    shares, majority = class_shares(labels, grid, 3), majority_labels(labels, grid, 3)
    assert shares.shape == (4, *grid.hw)
    for row in range(grid.hw[0]):
        for column in range(grid.hw[1]):
            patch = labels[row * stride : row * stride + 4, column * stride : column * stride + 4].flatten()
            counts = torch.bincount(torch.where(patch < 0, 3, patch), minlength=4)
            torch.testing.assert_close(shares[:, row, column], counts / 16)
            assert majority[row, column] == (-1 if counts[3] > 8 else counts[:3].argmax())
    assert majority[0, 0] == -1


def test_labels_are_brought_to_the_size_of_the_grid():
    small = torch.tensor([[0, 1], [2, -1]])
    assert majority_labels(small, PatchGrid.of((16, 16), 8), 3).tolist() == [[0, 1], [2, -1]]
    large = small.repeat_interleave(40, dim=0).repeat_interleave(24, dim=1)
    assert majority_labels(large, PatchGrid.of((16, 16), 8), 3).tolist() == [[0, 1], [2, -1]]


def test_exactly_half_without_a_class_still_has_one():
    labels = torch.tensor([[1, 1], [-1, -1]])
    assert majority_labels(labels, PatchGrid.of((2, 2), 2), 3).tolist() == [[1]]
