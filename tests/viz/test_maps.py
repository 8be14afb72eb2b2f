"""Norms, similarities and clusters of patches, and their colours."""

import matplotlib
import pytest
import torch

from dvt.errors import DvtError
from dvt.viz import cluster_map, colourise, colourise_labels, norm_map, similarity_map
from dvt.viz.maps import require_map


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_norm():
    feature_map = torch.tensor([[[3.0, 4.0], [0.0, 0.0], [-5.0, 12.0]]]).half()
    norms = norm_map(feature_map)
    assert norms.dtype == torch.float32
    assert norms.tolist() == [[5, 0, 13]]


def test_similarity_by_hand():
    feature_map = torch.tensor([[[1.0, 0], [5, 0], [0, 2]], [[-3, 0], [1, 1], [0, 0]]])
    expected = torch.tensor([[1, 1, 0], [-1, 0.5**0.5, 0]])
    torch.testing.assert_close(similarity_map(feature_map, 0, 1), expected)


def test_similarity_stays_in_range_in_half_precision():
    feature_map = noise(6, 7, 3).half()
    for row, column in [(0, 0), (5, 6), (2, 4)]:
        similarity = similarity_map(feature_map, row, column)
        assert similarity.dtype == torch.float32
        assert ((similarity >= -1) & (similarity <= 1)).all()
        assert similarity[row, column] == pytest.approx(1)


@pytest.mark.parametrize(("row", "column"), [(2, 0), (0, 3), (-1, 0), (0, -1)])
def test_similarity_to_a_patch_outside_the_map(row, column):
    with pytest.raises(DvtError, match=rf"no patch at row {row}, column {column}: the map has 2 rows and 3 columns"):
        similarity_map(noise(2, 3, 4), row, column)


def groups(shape, sizes, seed=0):
    """A map with `len(sizes)` well separated groups of vectors of various norms."""
    centres = torch.eye(8)[: len(sizes)]
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    lengths = 1 + 9 * torch.rand(len(labels), 1, generator=torch.Generator().manual_seed(seed))
    return ((centres[labels] + 0.02 * noise(len(labels), 8)) * lengths).reshape(*shape, 8), labels.reshape(shape)


def test_clusters_are_the_groups_by_size_for_any_norm():
    feature_map, truth = groups((8, 10), [10, 40, 25, 5])
    (labels,) = cluster_map([feature_map], num_clusters=4)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, torch.tensor([2, 0, 1, 3])[truth])


def test_clusters_are_shared_over_maps_of_any_size():
    first, first_truth = groups((4, 5), [15, 5])
    second, second_truth = groups((6, 3), [1, 17], seed=1)
    labels = cluster_map([first, second], num_clusters=2)
    by_size = torch.tensor([1, 0])  # 16 and 22 patches over both maps
    assert torch.equal(labels[0], by_size[first_truth])
    assert torch.equal(labels[1], by_size[second_truth])


@pytest.mark.parametrize("seed", range(8))
def test_clusters_of_one_size_are_ordered_by_their_centres(seed):
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert cluster_map([torch.stack([a, b, b, a])[None]], num_clusters=2, seed=seed)[0].tolist() == [[1, 0, 0, 1]]


@pytest.mark.parametrize("seed", range(5))
def test_labels_of_clear_groups_do_not_depend_on_the_seed(seed):
    feature_map, _ = groups((8, 10), [10, 40, 25, 5])
    assert torch.equal(cluster_map([feature_map], 4, seed=seed)[0], cluster_map([feature_map], 4)[0])


def test_clusters_of_a_constant_map_are_one():
    assert (cluster_map([torch.ones(4, 5, 3)])[0] == 0).all()
    assert (cluster_map([torch.zeros(4, 5, 3)])[0] == 0).all()


@pytest.mark.parametrize("num_clusters", [0, 7])
def test_more_clusters_than_patches(num_clusters):
    with pytest.raises(DvtError, match=f"{num_clusters} clusters of 6 patches cannot be made. Give 1 to 6"):
        cluster_map([noise(2, 3, 4)], num_clusters)


@pytest.mark.parametrize("function", [norm_map, lambda one: similarity_map(one, 0, 0), lambda one: cluster_map([one])])
def test_not_finite(function):
    feature_map = noise(3, 4, 5)
    feature_map[1, 2, 0] = float("nan")
    with pytest.raises(DvtError, match=r"NaN or infinite in 1 of 12 patches .*row 1, column 2"):
        function(feature_map)


@pytest.mark.parametrize(
    "not_a_map", [torch.zeros(1, 4, 5, 6), torch.zeros(4, 5), torch.zeros(0, 5, 6), torch.zeros(4, 5, 6).long()]
)
def test_an_error_names_what_is_not_a_feature_map(not_a_map):
    with pytest.raises(
        DvtError, match=r"raw has shape .* Expected a feature map of floats, \(rows, columns, channels\)"
    ):
        require_map(not_a_map, "raw")


def test_colours_of_numbers():
    colours = colourise(torch.tensor([[0.0, 5.0, 10.0, -99.0, 99.0]]), 0.0, 10.0)
    assert colours.shape == (1, 5, 3)
    assert colours.dtype == torch.float32
    inferno = matplotlib.colormaps["inferno"]
    for column, share in enumerate([0.0, 0.5, 1.0, 0.0, 1.0]):
        assert colours[0, column].tolist() == pytest.approx(inferno(share)[:3])


def test_colours_of_an_empty_range_are_the_middle():
    middle = torch.tensor(matplotlib.colormaps["viridis"](0.5)[:3]).float()
    assert torch.equal(colourise(torch.full((2, 2), 3.0), 3.0, 3.0, "viridis"), middle.expand(2, 2, 3))


def test_colour_errors():
    values = torch.zeros(2, 2)
    with pytest.raises(DvtError, match=r"no colour map 'infreno'. Did you mean inferno"):
        colourise(values, 0.0, 1.0, "infreno")
    with pytest.raises(DvtError, match="from 1 to 0"):
        colourise(values, 1.0, 0.0)
    with pytest.raises(DvtError, match="not all finite"):
        colourise(values / 0, 0.0, 1.0)


def test_label_colours_differ_and_do_not_depend_on_other_labels():
    labels = torch.arange(10).reshape(2, 5)
    colours = colourise_labels(labels)
    assert colours.dtype == torch.float32
    assert len(set(map(tuple, colours.flatten(0, 1).tolist()))) == 10
    assert torch.equal(colourise_labels(labels[1:2, 2:3])[0, 0], colours[1, 2])


@pytest.mark.parametrize("label", [-1, 10])
def test_labels_without_a_colour(label):
    with pytest.raises(DvtError, match=f"labels go from {label} to {label}; there are colours for 0 to 9"):
        colourise_labels(torch.tensor([[label]]))
