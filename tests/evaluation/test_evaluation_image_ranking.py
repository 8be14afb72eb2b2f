"""Votes, recall, average precision and KoLeo against scikit-learn, scipy and by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier
from torch.nn.functional import normalize

from dvt.evaluation.probes import image_ranking
from dvt.evaluation.probes.image_ranking import koleo, rank

VOTES = {"num_neighbours": 20, "temperature": 0.07}


def unit_vectors(count, channels=6, seed=0):
    return normalize(torch.randn(count, channels, generator=torch.Generator().manual_seed(seed)).double(), dim=1)


def labelled(count, seed, classes=4):
    """Vectors that lean towards a direction of their class."""
    labels = torch.randint(0, classes, (count,), generator=torch.Generator().manual_seed(seed))
    return normalize(unit_vectors(count, seed=seed) + 0.7 * unit_vectors(classes, seed=99)[labels], dim=1), labels


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_agrees_with_scikit_learn(seed):
    (queries, query_labels), (database, labels) = labelled(30, seed), labelled(80, seed + 10)
    found = rank(queries, query_labels, database, labels, **VOTES).average_precision
    expected = [
        average_precision_score(labels == label, database @ query)
        for query, label in zip(queries, query_labels, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_average_precision_of_ties_agrees_with_scikit_learn():
    """Descriptors of a few values, many of them the same."""
    generator = torch.Generator().manual_seed(0)
    corners = normalize(torch.tensor([[1.0, 0], [0, 1], [1, 1], [-1, 1]]).double(), dim=1)
    database, queries = (corners[torch.randint(0, 4, (n,), generator=generator)] for n in (40, 12))
    labels, query_labels = (torch.randint(0, 3, (n,), generator=generator) for n in (40, 12))
    found = rank(queries, query_labels, database, labels, **VOTES).average_precision
    expected = [
        average_precision_score(labels == label, (database @ query).round(decimals=12))
        for query, label in zip(queries, query_labels, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    turned = torch.arange(39, -1, -1)
    again = rank(queries, query_labels, database[turned], labels[turned], **VOTES).average_precision
    np.testing.assert_allclose(found, again, atol=1e-12)


@pytest.mark.parametrize("neighbours", [1, 5, 20])
def test_uniform_votes_agree_with_scikit_learn(neighbours):
    (queries, query_labels), (database, labels) = labelled(60, 0), labelled(120, 1)
    found = rank(queries, query_labels, database, labels, num_neighbours=neighbours, temperature=None)
    classifier = KNeighborsClassifier(neighbours, metric="cosine").fit(database, labels)
    np.testing.assert_array_equal(found.voted, classifier.predict(queries))


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_weighted_votes_agree_with_scikit_learn(temperature):
    (queries, query_labels), (database, labels) = labelled(60, 0), labelled(120, 1)
    found = rank(queries, query_labels, database, labels, num_neighbours=20, temperature=temperature)
    classifier = KNeighborsClassifier(
        20, metric="cosine", weights=lambda distance: np.exp((1 - distance) / temperature)
    ).fit(database, labels)
    np.testing.assert_array_equal(found.voted, classifier.predict(queries))


def directions(*degrees):
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_a_ranking_by_hand():
    """Ranks of the database for the query at 0: classes 1, 0, 0, 1, 0."""
    database, labels = directions(10, 40, 20, 50, 30), torch.tensor([1, 1, 0, 0, 0])
    found = rank(directions(0), torch.tensor([0]), database, labels, num_neighbours=3, temperature=None)
    assert found.first_hit.tolist() == [2]
    assert float(found.average_precision) == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 3)
    assert found.voted.tolist() == [0]
    near = rank(directions(0), torch.tensor([0]), database, labels, num_neighbours=3, temperature=0.01)
    assert near.voted.tolist() == [1]  # cos 10 = 0.985, cos 20 = 0.940, cos 30 = 0.866: e^-4.5 + e^-11.9 < 1


def test_equal_votes_go_to_the_first_class():
    database, labels = directions(10, -10), torch.tensor([1, 0])
    found = rank(directions(0), torch.tensor([1]), database, labels, num_neighbours=2, temperature=None)
    assert found.voted.tolist() == [0]


def test_a_query_is_not_found_by_itself():
    vectors, labels = labelled(40, 0)
    own = torch.tensor([3, 17, 39])
    found = rank(vectors[own], labels[own], vectors, labels, own=own, **VOTES)
    for number, position in enumerate(own.tolist()):
        others = torch.arange(40) != position
        alone = rank(vectors[own[number]][None], labels[own[number]][None], vectors[others], labels[others], **VOTES)
        assert float(found.average_precision[number]) == pytest.approx(float(alone.average_precision), abs=1e-12)
        assert found.first_hit[number] == alone.first_hit[0] and found.voted[number] == alone.voted[0]


def test_many_queries_are_ranked_in_parts(monkeypatch):
    (queries, query_labels), (database, labels) = labelled(30, 0), labelled(50, 1)
    whole = rank(queries, query_labels, database, labels, **VOTES)
    monkeypatch.setattr(image_ranking, "_ROWS", 7)
    parts = rank(queries, query_labels, database, labels, **VOTES)
    assert torch.equal(whole.voted, parts.voted) and torch.equal(whole.first_hit, parts.first_hit)
    torch.testing.assert_close(whole.average_precision, parts.average_precision)


@pytest.mark.parametrize("count", [2, 37, 600])
def test_koleo_agrees_with_scipy(count):
    vectors = unit_vectors(count)
    distances = cdist(vectors, vectors)
    np.fill_diagonal(distances, np.inf)
    value, twins = koleo(vectors)
    assert value == pytest.approx(-np.log(distances.min(axis=1)).mean(), abs=1e-9) and twins == 0


def test_koleo_by_hand():
    value, _ = koleo(directions(0, 90, 180))
    assert value == pytest.approx(-math.log(math.sqrt(2)))
    tiny = 1e-5
    value, _ = koleo(torch.tensor([[1.0, 0], [math.cos(tiny), math.sin(tiny)]], dtype=torch.float64))
    assert value == pytest.approx(-math.log(tiny), abs=1e-6)


def test_duplicates_are_left_out_and_counted():
    apart = directions(0, 90, 180)
    value, twins = koleo(torch.cat([apart, directions(270, 270)]))
    assert twins == 2 and value == pytest.approx(koleo(torch.cat([apart, directions(270)]))[0])
    value, twins = koleo(directions(0, 0, 0))
    assert math.isnan(value) and twins == 3
