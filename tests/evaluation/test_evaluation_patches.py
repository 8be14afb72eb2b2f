"""What tasks on patches share: batches, targets beside them, and labels of patches against loops."""

import math

import numpy as np
import pytest
import torch
from mean_colours import MeanColours
from recorder import Recorder
from torch.nn import functional

from dvt.errors import EvaluationError, GeometryError
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.patches import (
    BATCH_SIZE,
    class_shares,
    features_and_targets,
    features_of,
    finite_features,
    fitting_hw,
    majority_labels,
    upsample,
    upsample_scores,
    winners,
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


@pytest.mark.parametrize("stride", [8, 4])
def test_shares_of_cells_agree_with_a_loop(stride):
    grid, labels = PatchGrid.of((24, 32), 8, stride), torch.randint(-1, 3, (24, 32))
    cells = grid.finer(2)
    shares = class_shares(labels, cells, 3)
    assert shares.shape == (4, *cells.hw)
    side, edge = stride // 2, (8 - stride) // 2
    for row in range(cells.hw[0]):
        for column in range(cells.hw[1]):
            top, left = edge + row * side, edge + column * side
            inside = labels[top : top + side, left : left + side]
            for number, name in enumerate((0, 1, 2, -1)):
                assert shares[number, row, column] == pytest.approx(float((inside == name).float().mean()))


def test_labels_are_brought_to_the_size_of_the_grid():
    small = torch.tensor([[0, 1], [2, -1]])
    assert majority_labels(small, PatchGrid.of((16, 16), 8), 3).tolist() == [[0, 1], [2, -1]]
    large = small.repeat_interleave(40, dim=0).repeat_interleave(24, dim=1)
    assert majority_labels(large, PatchGrid.of((16, 16), 8), 3).tolist() == [[0, 1], [2, -1]]


def test_exactly_half_without_a_class_still_has_one():
    labels = torch.tensor([[1, 1], [-1, -1]])
    assert majority_labels(labels, PatchGrid.of((2, 2), 2), 3).tolist() == [[1]]


def test_sizes_fit_the_patches():
    side_by_side, dense = MeanColours(patch=14), MeanColours(patch=14, stride=4)
    assert fitting_hw(side_by_side, (416, 544), larger=True) == (420, 546)
    assert fitting_hw(side_by_side, (480, 840), larger=False) == (476, 840)
    assert fitting_hw(side_by_side, (5, 14), larger=False) == (14, 14)
    assert fitting_hw(dense, (30, 29), larger=False) == (30, 26)
    with pytest.raises(GeometryError, match="no size near 8 px fits"):
        fitting_hw(MeanColours(patch=200), (8, 8), larger=True)


@pytest.mark.parametrize("read", [upsample, lambda *given: upsample_scores(*given).permute(0, 2, 3, 1)])
def test_upsampling_is_bilinear_where_patches_are_side_by_side(read):
    maps = torch.randn(2, 5, 7, 3, generator=torch.Generator().manual_seed(0))
    expected = functional.interpolate(maps.permute(0, 3, 1, 2), (33, 50), mode="bilinear", align_corners=False)
    torch.testing.assert_close(read(maps, PatchGrid.of((40, 56), 8), (33, 50)), expected.permute(0, 2, 3, 1))


@pytest.mark.parametrize("read", [upsample, lambda *given: upsample_scores(*given).permute(0, 2, 3, 1)])
@pytest.mark.parametrize("stride", [8, 4, 3])
def test_a_value_is_read_at_the_centre_of_its_patch(read, stride):
    """A map that is linear in the position stays so between the outermost centres, however patches overlap."""
    grid = PatchGrid.of((8 + 4 * stride, 8 + 6 * stride), 8, stride)
    height, width = grid.image_hw
    up = read(grid.centres_xy.float()[None], grid, grid.image_hw)[0]
    x = ((torch.arange(width) + 0.5) / width).clamp(4 / width, 1 - 4 / width)
    y = ((torch.arange(height) + 0.5) / height).clamp(4 / height, 1 - 4 / height)
    torch.testing.assert_close(up[..., 0], x.expand(height, -1), atol=1e-6, rtol=0)
    torch.testing.assert_close(up[..., 1], y[:, None].expand(-1, width), atol=1e-6, rtol=0)


def test_the_largest_class_wins():
    scores = torch.randn(5, 6, 7)
    assert torch.equal(winners(scores), scores.argmax(dim=0))
