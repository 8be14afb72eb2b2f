"""Whole images: pooled descriptors, ranking by cosine similarity (k-NN votes, recall, average precision), KoLeo."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from dvt.backbone.features import Features
from dvt.evaluation.config.retrieval import Pooling
from dvt.shapes import Tokens

_SMALLEST = 1e-6
"""Lower bound of values before `gem`."""
_ROWS: Final = 256
"""Queries ranked at once: memory is a few times 8 * 256 * N bytes."""
_DIGITS: Final = 12
"""Decimals of similarities: equal descriptors are equally similar, in whatever order the products are summed."""


def pool(features: Features, pooling: Pooling, gem_power: float) -> Tensor | None:
    """(B, C) one descriptor per image; None for the class token of features without one.

    Args:
        features: of a batch of images.
        pooling: `mean` of the patches; `gem`: (mean x^p)^(1/p) of the patches per channel, with x at least 1e-6, so
            that negative values count as nothing; `class_token`: the first prefix token.
        gem_power: p.
    """
    patches = features.patches.flatten(1, 2)
    match pooling:
        case Pooling.mean:
            return patches.mean(dim=1)
        case Pooling.gem:
            return patches.clamp(min=_SMALLEST).pow(gem_power).mean(dim=1).pow(1 / gem_power)
        case Pooling.class_token:
            return features.prefix[:, 0] if features.prefix.shape[1] else None


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Results per query; (Q,) each."""

    voted: Tensor
    """int64: the class that its neighbours vote for."""
    first_hit: Tensor
    """int64: the rank, from 1, of the first image of its class."""
    average_precision: Tensor
    """float64 in [0, 1]."""


def rank(
    queries: Tensor,
    query_labels: Tensor,
    database: Tokens,
    labels: Tensor,
    *,
    num_neighbours: int,
    temperature: float | None,
    own: Tensor | None = None,
) -> Ranking:
    """Rank a database by cosine similarity for every query.

    Votes follow the k-NN evaluation of DINO (Caron et al. 2021; Wu et al. 2018): each of the nearest neighbours votes
    for its class with exp(similarity / temperature); of classes with equal votes the first wins. Average precision is
    the mean, over the images of the query's class, of the precision down to each of them. Images of equal similarity
    are one step, as in scikit-learn, so their order does not matter; torchmetrics orders them by chance, in float32.

    Args:
        queries: (Q, C) float64, of length 1.
        query_labels: (Q,) int64; every class is among `labels`.
        database: (N, C) float64, of length 1.
        labels: (N,) int64 classes from 0.
        num_neighbours: how many vote, at most N (N - 1 with `own`).
        temperature: None gives all neighbours the same vote.
        own: (Q,) position of each query in the database, where it is left out (leave-one-out).
    """
    assert num_neighbours <= len(database) - (own is not None), "checked by the task"
    parts = []
    for start in range(0, len(queries), _ROWS):
        rows = slice(start, start + _ROWS)
        similarities = (queries[rows] @ database.T).round(decimals=_DIGITS)
        if own is not None:
            similarities.scatter_(1, own[rows, None], -torch.inf)
        ranked, order = similarities.sort(dim=1, descending=True, stable=True)
        if own is not None:  # the query itself comes last
            ranked, order = ranked[:, :-1], order[:, :-1]
        found = labels[order]
        votes = _votes(ranked[:, :num_neighbours], found[:, :num_neighbours], int(labels.max()) + 1, temperature)
        hits = found == query_labels[rows, None]
        parts.append((votes.argmax(dim=1), hits.int().argmax(dim=1) + 1, _average_precision(ranked, hits)))
    return Ranking(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _votes(similarities: Tensor, labels: Tensor, num_classes: int, temperature: float | None) -> Tensor:
    """(Q, classes) sums of the votes; scaled per query so that the nearest neighbour has 1."""
    if temperature is None:
        weights = torch.ones_like(similarities)
    else:
        weights = ((similarities - similarities[:, :1]) / temperature).exp()
    return weights.new_zeros(len(weights), num_classes).scatter_add_(1, labels, weights)


def _average_precision(ranked: Tensor, hits: Tensor) -> Tensor:
    """(Q,) from (Q, N) descending similarities and whether each image is of the class."""
    ends = torch.searchsorted(-ranked, -ranked, right=True)  # how many images are at least as similar
    precision = hits.cumsum(dim=1).gather(1, ends - 1).double() / ends
    return (precision * hits).sum(dim=1) / hits.sum(dim=1)


def koleo(descriptors: Tokens) -> tuple[float, int]:
    """-(1/N) sum_i log min_j |z_i - z_j| over j other than i (Kozachenko and Leonenko; El-Nouby et al. 2021).

    A smaller value: descriptors are further from their nearest neighbours. It depends on N: compare it on the same
    images only. Duplicates (distance 0) would make it infinite: they are left out of the mean.

    Args:
        descriptors: of length 1, at least two.

    Returns:
        The value, NaN where all are duplicates; and the number of duplicates.

    Examples:
        >>> value, duplicates = koleo(torch.eye(3))
        >>> round(value, 4), duplicates
        (-0.3466, 0)
    """
    distance = nearest_distances(descriptors)
    apart = distance[distance > 0]
    return float(-apart.log().mean()), len(distance) - len(apart)


def nearest_distances(descriptors: Tokens) -> Tensor:
    """(N,) the Euclidean distance of every descriptor to the nearest other one; it can be differentiated.

    Args:
        descriptors: of length 1, at least two.
    """
    distances = []
    for start in range(0, len(descriptors), _ROWS):
        rows = descriptors[start : start + _ROWS]
        similarities = rows.detach() @ descriptors.detach().T
        similarities.diagonal(start).fill_(-torch.inf)
        nearest = descriptors[similarities.argmax(dim=1)]
        distances.append((rows - nearest).norm(dim=1))  # exact near 0, unlike sqrt(2 - 2 cos)
    return torch.cat(distances)
