"""LOST: an object is grown from the patch that resembles the fewest others (Siméoni et al., BMVC 2021)."""

import torch
from torch import Tensor

from dvt.evaluation.discovery.config import SeedRule
from dvt.evaluation.discovery.found import FoundObject, centred_tokens, nothing, object_at
from dvt.shapes import FeatureMap, Tokens

_ROWS = 1024
"""Rows of the matrix of dot products that are held at once; the whole of it never is."""


def lost(
    patches: FeatureMap, *, centre: bool = True, seed: SeedRule = SeedRule.degree, num_candidates: int = 100
) -> FoundObject:
    """Find one object.

    Two patches resemble each other if the dot product of their features is positive; the degree of a patch is how many
    it resembles. The seed is the patch of the smallest degree. The `num_candidates` patches of the smallest degree that
    resemble the seed make up a set S (the seed is one of them), and a patch belongs to the object if the sum of its dot
    products with S is positive. Of those patches the ones that hang together with the seed are the object. Equal
    degrees: the upper, then the left patch comes first.

    Args:
        patches: feature map, on the CPU.
        centre: subtract the mean feature first. Without it nearly all dot products of post-norm features are positive.
        seed: `norm` ranks patches by the norm of their features, before the mean is subtracted, largest first,
            and not by degree.
        num_candidates: how many patches S may hold, k = 100 in the paper.

    Returns:
        The object; `soft` is the sum of dot products with S. Nothing where no patch resembles even itself: all
        features are the same.
    """
    hw = (patches.shape[0], patches.shape[1])
    tokens = centred_tokens(patches, centre)
    match seed:
        case SeedRule.degree:
            order = _degrees(tokens).argsort(stable=True)
        case SeedRule.norm:
            order = (-patches.reshape(tokens.shape).norm(dim=1)).argsort(stable=True)
    first, candidates = order[0], order[:num_candidates]
    similar = candidates[tokens[candidates] @ tokens[first] > 0]
    if first not in similar:
        return nothing(hw)
    strength = (tokens @ tokens[similar].sum(dim=0)).reshape(hw)
    return object_at(int(first), strength > 0, strength)


def _degrees(tokens: Tokens) -> Tensor:
    """(N,) how many patches each one resembles, itself included."""
    return torch.cat([(rows @ tokens.T > 0).sum(dim=1) for rows in torch.split(tokens, _ROWS)])
