"""From descriptors to k-NN votes, recall and average precision."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from dvt.shapes import Tokens

_ROWS: Final = 256
"""Queries that are ranked at once: memory is a few times 8 * 256 * N bytes."""

_DIGITS: Final = 12
"""Similarities are rounded to so many: equal descriptors are equally similar, however the products were summed up."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """What became of every query; (Q,) each."""

    voted: Tensor
    """int64: the class that its neighbours vote for."""
    first_hit: Tensor
    """int64: the rank, from 1, of the first picture of its class."""
    average_precision: Tensor
    """float64 in [0, 1]."""


def rank(
    queries: Tensor,
    query_labels: Tensor,
    database: Tokens,
    labels: Tensor,
    *,
    num_neighbours: int = 20,
    temperature: float | None = 0.07,
    own: Tensor | None = None,
) -> Ranking:
    """Rank a database by cosine similarity for every query.

    Votes as in the k-NN evaluation of DINO (Caron et al. 2021; Wu et al. 2018): each of the nearest neighbours votes
    for its class with exp(similarity / temperature); of classes with equal votes the first wins. Average precision is
    the mean, over the pictures of the query's class, of the precision down to each of them; pictures of equal
    similarity are taken as one step, so that their order plays no part. Everywhere else they come in the order of the
    database.

    Args:
        queries: (Q, C) float64, of length 1.
        query_labels: (Q,) int64; every class is among `labels`.
        database: (N, C) float64, of length 1.
        labels: (N,) int64 classes from 0.
        num_neighbours: how many vote, at most N (N - 1 with `own`).
        temperature: None gives all neighbours the same vote.
        own: (Q,) where each query itself stands in the database: it is left out there (leave-one-out).
    """
    assert num_neighbours <= len(database) - (own is not None), "the task checks that there are so many"
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
    voted, first_hit, average_precision = (torch.cat(each) for each in zip(*parts, strict=True))
    return Ranking(voted, first_hit, average_precision)


def _votes(similarities: Tensor, labels: Tensor, num_classes: int, temperature: float | None) -> Tensor:
    """(Q, classes) sums of the votes; scaled per query so that the nearest neighbour has 1."""
    if temperature is None:
        weights = torch.ones_like(similarities)
    else:
        weights = ((similarities - similarities[:, :1]) / temperature).exp()
    return weights.new_zeros(len(weights), num_classes).scatter_add_(1, labels, weights)


def _average_precision(ranked: Tensor, hits: Tensor) -> Tensor:
    """(Q,) from (Q, N) descending similarities and whether each picture is of the class."""
    ends = torch.searchsorted(-ranked, -ranked, right=True)  # how many pictures are at least as similar
    precision = hits.cumsum(dim=1).gather(1, ends - 1).double() / ends
    return (precision * hits).sum(dim=1) / hits.sum(dim=1)
