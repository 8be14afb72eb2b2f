"""Nearest class centroids: a bank of centroids of the training images votes on every patch. Nothing is trained."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dvt.evaluation.patches import class_shares
from dvt.grid import PatchGrid
from dvt.shapes import FeatureMap, FeatureMaps, Tokens

_MOST_SIMILARITIES = 2**25
"""Cosines in memory at a time: 128 MiB."""


@dataclass(frozen=True, slots=True, eq=False)
class CentroidBank:
    """Class centroids of the training images, and their votes."""

    centroids: Tokens
    """(N, C), of length 1: one per training image and class in it."""
    classes: Tensor
    """(N,) int64, their classes."""
    num_classes: int
    """K."""
    num_neighbours: int
    """How many of them vote."""
    temperature: float
    """A vote counts exp(cosine / temperature)."""

    def __call__(self, maps: FeatureMaps) -> Tensor:
        """(B, H, W, C) features to (B, H, W, K) shares of the votes, which sum to 1."""
        tokens = functional.normalize(maps.flatten(0, 2), dim=1)
        centroids, classes = self.centroids.to(tokens), self.classes.to(tokens.device)
        votes = []
        for some in torch.split(tokens, max(1, _MOST_SIMILARITIES // len(centroids))):
            nearest = (some @ centroids.T).topk(min(self.num_neighbours, len(centroids)), dim=1)
            weights = (nearest.values / self.temperature).softmax(dim=1)
            empty = torch.zeros(len(some), self.num_classes).to(some)
            votes.append(empty.scatter_add_(1, classes[nearest.indices], weights))
        return torch.cat(votes).reshape(*maps.shape[:3], self.num_classes)


def class_centroids(patches: FeatureMap, labels: Tensor, grid: PatchGrid, num_classes: int) -> tuple[Tokens, Tensor]:
    """The mean feature of every class in an image: every pixel of the class counts the feature of its patch.

    Args:
        patches: (H, W, C) features.
        labels: (y, x) int64 classes, -1 for none.
        grid: the patches.
        num_classes: K.

    Returns:
        (N, C) centroids of the classes that occur, and the (N,) classes.
    """
    shares = class_shares(labels, grid, num_classes)[:num_classes].flatten(1).to(patches)
    pixels = shares.sum(dim=1)
    occurs = pixels > 0
    return shares[occurs] @ patches.flatten(0, 1) / pixels[occurs, None], occurs.nonzero()[:, 0]
