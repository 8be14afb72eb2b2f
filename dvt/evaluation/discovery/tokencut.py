"""TokenCut: an object is one side of the normalised cut of the graph of similar patches (Wang et al., CVPR 2022)."""

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor
from torch.nn import functional

from dvt.errors import EvaluationError
from dvt.evaluation.discovery.found import FoundObject, centred_tokens, nothing, object_at
from dvt.shapes import FeatureMap

MAX_PATCHES: Final = 15_000
"""The graph of so many patches takes 1.8 GB, and as much again while it is solved."""
_START_SEED: Final = 0


def tokencut(patches: FeatureMap, *, centre: bool = False, tau: float = 0.2, eps: float = 1e-5) -> FoundObject:
    """Find one object.

    Patches are nodes; an edge weighs 1 where the cosine similarity is at least `tau`, else `eps`. The second smallest
    eigenvector of (D - W) x = lambda D x (Shi and Malik) is cut at its mean. The side of the patch with the largest
    absolute entry is the foreground, and the patches of it that hang together with that one are the object.

    Args:
        patches: feature map, on the CPU.
        centre: subtract the mean feature first.
        tau: as above.
        eps: as above.

    Returns:
        The object; `soft` is the eigenvector, its sign such that the object is high. Nothing where all pairs of
        patches weigh the same: there is nothing to cut.

    Raises:
        EvaluationError: the graph is too large for the memory.
    """
    hw = (patches.shape[0], patches.shape[1])
    if hw[0] * hw[1] > MAX_PATCHES:
        raise EvaluationError(
            f"TokenCut on {hw[0]} x {hw[1]} patches needs a graph of {hw[0] * hw[1]} nodes; {MAX_PATCHES} is the most."
            " Give a smaller image_size, or algorithm=lost."
        )
    tokens = functional.normalize(centred_tokens(patches, centre), dim=1)
    weights = torch.where(tokens @ tokens.T >= tau, 1.0, eps).double().numpy()
    if weights.min() == weights.max():
        return nothing(hw)
    vector = second_eigenvector(weights)
    seed = int(vector.abs().argmax())
    if vector[seed] < vector.mean():
        vector = -vector
    vector = vector.reshape(hw)
    return object_at(seed, vector > vector.mean(), vector)


def second_eigenvector(weights: npt.NDArray[np.float64]) -> Tensor:
    """(N,) the eigenvector of (D - W) x = lambda D x with the second smallest lambda; its sign is arbitrary.

    Solved as D^-1/2 W D^-1/2 y = (1 - lambda) y with x = D^-1/2 y. The first y is known, D^1/2 1, and taken away, so
    that the wanted one belongs to the largest eigenvalue, which Lanczos iterations find ten times as fast as a
    decomposition of the whole matrix. The start of the iterations is fixed: the same graph gives the same vector.

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
