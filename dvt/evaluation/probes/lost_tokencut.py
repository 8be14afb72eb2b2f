"""LOST and TokenCut: one object in a feature map, without training.

LOST: Siméoni et al., BMVC 2021. TokenCut: Wang et al., CVPR 2022. Both take the features that are given, not keys.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from scipy.sparse.linalg import eigsh
from torch import Tensor
from torch.nn import functional

from dvt.errors import EvaluationError
from dvt.evaluation.config.objects import Algorithm, ObjectsConfig, SeedRule
from dvt.shapes import FeatureMap, Tokens

MAX_PATCHES: Final = 15_000
"""TokenCut's graph takes 1.8 GB at this size, and as much again while it is solved."""

_ROWS = 1024
"""Rows of LOST's matrix of dot products in memory at once."""
_SAME = 1e-6
"""Features that differ by less than this share of their size are equal: the rest is rounding."""
_START_SEED: Final = 0


@dataclass(frozen=True, slots=True, eq=False)
class FoundObject:
    """One object, as patches."""

    mask: Tensor
    """(H, W) bool: its patches, connected; none where nothing was found."""
    soft: Tensor
    """(H, W) float32 in [0, 1]: score of each patch; all 0 where nothing was found."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found."""
        return not bool(self.mask.any())


def find_object(patches: FeatureMap, config: ObjectsConfig) -> FoundObject:
    """Find one object in a feature map, on the CPU, by the algorithm that the options name.

    Raises:
        EvaluationError: the map is too large for the algorithm.
    """
    match config.algorithm:
        case Algorithm.lost:
            return lost(patches, config)
        case Algorithm.tokencut:
            return tokencut(patches, config)


def lost(patches: FeatureMap, config: ObjectsConfig) -> FoundObject:
    """Grow one object from the patch that is similar to the fewest others (LOST).

    Two patches are similar if the dot product of their features is positive; the degree of a patch is the number of
    patches similar to it. The seed is the patch with the smallest degree. Of the `num_candidates` patches with the
    smallest degree, those similar to the seed form a set S, the seed included. A patch belongs to the object if the
    sum of its dot products with S is positive and it is connected to the seed. Of equal degrees the upper, then the
    left patch comes first.

    Args:
        patches: feature map, on the CPU.
        config: `centred`: without it nearly all dot products of post-norm features are positive. `seed=norm` ranks
            patches by the norm of their features before the mean is subtracted, largest first, instead of by degree.
            `num_candidates`: 100 in the paper.

    Returns:
        The object; `soft` is the sum of dot products with S. Empty where all features are equal: no patch is similar
        even to itself.

    Examples:
        >>> patches = torch.zeros(4, 5, 2)
        >>> patches[1:3, 2:4] = 1.0
        >>> lost(patches, ObjectsConfig()).mask.nonzero().tolist()
        [[1, 2], [1, 3], [2, 2], [2, 3]]
    """
    hw = (patches.shape[0], patches.shape[1])
    tokens = _tokens(patches, config.centred)
    match config.seed:
        case SeedRule.degree:
            rank = torch.cat([(rows @ tokens.T > 0).sum(dim=1) for rows in torch.split(tokens, _ROWS)])
        case SeedRule.norm:
            rank = -patches.reshape(tokens.shape).norm(dim=1)
    candidates = rank.argsort(stable=True)[: config.num_candidates]
    similar = candidates[tokens[candidates] @ tokens[candidates[0]] > 0]
    if candidates[0] not in similar:
        return _nothing(hw)
    strength = (tokens @ tokens[similar].sum(dim=0)).reshape(hw)
    return _object_at(int(candidates[0]), strength > 0, strength)


def tokencut(patches: FeatureMap, config: ObjectsConfig) -> FoundObject:
    """Find one object by the normalised cut of the graph of similar patches (TokenCut).

    Patches are nodes; an edge weighs 1 where the cosine similarity is at least `tau`, else `eps`. The second smallest
    eigenvector of (D - W) x = lambda D x (Shi and Malik) is split at its mean. The side of the patch with the largest
    absolute entry is the foreground; the part of it that is connected to this patch is the object.

    Args:
        patches: feature map, on the CPU.
        config: `centred`, `tau` and `eps`.

    Returns:
        The object; `soft` is the eigenvector, its sign such that the object is high. Empty where all edges weigh the
        same.

    Raises:
        EvaluationError: the graph is too large for the memory.
    """
    hw = (patches.shape[0], patches.shape[1])
    if hw[0] * hw[1] > MAX_PATCHES:
        raise EvaluationError(
            f"TokenCut on {hw[0]} x {hw[1]} patches needs a graph of {hw[0] * hw[1]} nodes; {MAX_PATCHES} is the most."
            " Give a smaller image_size, or algorithm=lost."
        )
    tokens = functional.normalize(_tokens(patches, config.centred), dim=1)
    weights = torch.where(tokens @ tokens.T >= config.tau, 1.0, config.eps).double().numpy()
    if weights.min() == weights.max():
        return _nothing(hw)
    vector = second_eigenvector(weights)
    seed = int(vector.abs().argmax())
    if vector[seed] < vector.mean():
        vector = -vector
    vector = vector.reshape(hw)
    return _object_at(seed, vector > vector.mean(), vector)


def second_eigenvector(weights: npt.NDArray[np.float64]) -> Tensor:
    """(N,) the eigenvector of (D - W) x = lambda D x with the second smallest lambda; its sign is arbitrary.

    Solved as D^-1/2 W D^-1/2 y = (1 - lambda) y with x = D^-1/2 y. The first y is known, D^1/2 1. It is subtracted, so
    the wanted one has the largest eigenvalue, which Lanczos iterations find ten times faster than a full
    decomposition. The start of the iterations is fixed: the same graph gives the same vector.

    Args:
        weights: (N, N), symmetric, positive, not all equal. It is overwritten.
    """
    degrees = weights.sum(axis=1)
    weights /= np.sqrt(degrees)[:, None]
    weights /= np.sqrt(degrees)[None]
    first = np.sqrt(degrees / degrees.sum())
    weights -= first[:, None] * first
    start = np.random.default_rng(_START_SEED).standard_normal(len(weights))
    _, vectors = eigsh(weights, k=1, which="LA", v0=start)
    return torch.from_numpy(vectors[:, 0] / np.sqrt(degrees))


def _tokens(patches: FeatureMap, centre: bool) -> Tokens:
    """The patches as (N, C), without their mean if asked for; exactly 0 where all are equal up to rounding."""
    tokens = patches.reshape(-1, patches.shape[-1])
    if not centre:
        return tokens
    rest = tokens - tokens.mean(dim=0)
    return torch.zeros_like(rest) if rest.abs().max() <= _SAME * tokens.abs().max() else rest


def _nothing(hw: tuple[int, int]) -> FoundObject:
    return FoundObject(mask=torch.zeros(hw, dtype=torch.bool), soft=torch.zeros(hw))


def _object_at(seed: int, positive: Tensor, strength: Tensor) -> FoundObject:
    """The (H, W) positive patches connected to the seed (a row-major index); neighbours share an edge."""
    labels, _ = ndimage.label(positive.numpy())
    low, high = strength.aminmax()
    return FoundObject(
        mask=torch.from_numpy(labels == labels.flat[seed]),
        soft=((strength - low) / (high - low).clamp(min=torch.finfo().tiny)).float(),
    )
