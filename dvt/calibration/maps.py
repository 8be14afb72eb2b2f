"""The methods: from sums of features to a linear map and a vector per position."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dvt.calibration.sums import PositionSums
from dvt.errors import ConfigError
from dvt.shapes import Float64

LEAST_SHARE = 0.05
"""A direction depends on the position where position explains this share of its variance on images not used."""
_TINY = 1e-9
"""Directions with a smaller share of the largest variance have none."""


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """y = weight x + bias + pattern(position), in float64."""

    weight: Float64[Tensor, "C K"]
    """The linear map."""
    bias: Float64[Tensor, " C"]
    """Added to every token."""
    pattern: Float64[Tensor, "P C"]
    """Added at every position; its mean is 0."""
    numbers: dict[str, float]
    """What was chosen, by name."""


def subtracted(pattern: Float64[Tensor, "P C"]) -> Affine:
    """Subtract a map; the mean over its positions stays.

    Examples:
        >>> found = subtracted(torch.tensor([[1.0], [3.0]], dtype=torch.float64))
        >>> found.weight.tolist(), found.pattern.tolist()
        ([[1.0]], [[1.0], [-1.0]])
    """
    num_channels = pattern.shape[1]
    return Affine(
        weight=torch.eye(num_channels, dtype=torch.float64),
        bias=pattern.new_zeros(num_channels),
        pattern=pattern.mean(dim=0) - pattern,
        numbers={},
    )


def without_directions(pattern: Float64[Tensor, "P C"], mean: Float64[Tensor, " C"], rank: int) -> Affine:
    """Remove the principal directions of a map, by an orthogonal projection around the mean token.

    Args:
        pattern: a map, such as the response to images without content.
        mean: the mean token of photographs, which stays.
        rank: number of directions.

    Raises:
        ConfigError: more directions than the map has.
    """
    centred = pattern - pattern.mean(dim=0)
    _check_rank(rank, min(centred.shape) - 1)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:rank]
    return _erased(directions.T @ directions, mean, pattern.new_zeros(pattern.shape), {"rank": float(rank)})


def erased(used: PositionSums, held_out: PositionSums, rank: int | None, centre: bool) -> Affine:
    """Remove the directions in which position explains most of the variance, and change the tokens as little as can be.

    With S the covariance of the tokens and W = S^-1/2, position explains u^T W B W u of the variance of the token in
    the whitened direction u, where B is the covariance of the mean map. U are the directions with the largest such
    shares. y = x - W^-1 U U^T W (x - mean) has none of them, and is the closest to x of all linear maps that remove
    them (LEACE: Belrose et al., NeurIPS 2023, theorem 4.3, with one concept per position and k of its directions).

    Args:
        used: sums of images from which the directions come.
        held_out: sums of other images, which tell directions that depend on the position from noise.
        rank: number of directions k; None: those with a share of at least `LEAST_SHARE` on the other images.
        centre: whether to subtract what remains of the mean map.

    Raises:
        ConfigError: more directions than there are.
    """
    values, vectors = torch.linalg.eigh(used.covariance)
    kept = values > _TINY * values[-1]
    whiten = (vectors[:, kept] / values[kept].sqrt()) @ vectors[:, kept].T
    colour = (vectors[:, kept] * values[kept].sqrt()) @ vectors[:, kept].T
    pattern = used.pattern @ whiten
    directions = torch.linalg.svd(pattern, full_matrices=False).Vh
    shares = _held_out_shares(directions @ whiten, used, held_out)
    if rank is None:
        below = (shares < LEAST_SHARE).nonzero()
        rank = int(below[0]) if len(below) else len(shares)
    _check_rank(rank, len(shares))
    chosen = directions[:rank]
    removed = colour @ (chosen.T @ chosen) @ whiten
    numbers = {"rank": float(rank), "largest share of a direction": float(shares[0])}
    left = used.pattern - used.pattern @ removed.T
    return _erased(removed, used.mean, -left if centre else torch.zeros_like(left), numbers)


def components(used: PositionSums, num_blocks: int, scale: float, centre: bool) -> Affine:
    """The principal components of several blocks together, as many as one block has channels.

    Blocks count alike: each is divided by the root of its mean variance first.

    Args:
        used: sums of the (1 + L) C inputs of a linear denoiser.
        num_blocks: 1 + L.
        scale: the variance that the components are given, summed over them; that of the ViT's own features.
        centre: whether to subtract the mean map.
    """
    num_channels = len(used.mean) // num_blocks
    covariance = used.covariance
    of_block = covariance.diagonal().reshape(num_blocks, -1).mean(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    units = of_block.sqrt().repeat_interleave(num_channels)
    values, vectors = torch.linalg.eigh(covariance / units / units[:, None])
    values, vectors = values[-num_channels:].flip(0), vectors[:, -num_channels:].flip(1)
    weight = vectors.T / units * (scale / values.sum()).sqrt()
    pattern = -used.pattern @ weight.T
    share = float(values.sum() / len(units))
    return Affine(
        weight=weight,
        bias=-weight @ used.mean,
        pattern=pattern if centre else torch.zeros_like(pattern),
        numbers={"share of the variance of all blocks": share},
    )


def _held_out_shares(directions: Tensor, used: PositionSums, held_out: PositionSums) -> Float64[Tensor, " R"]:
    """Share of the variance along (R, C) directions that position explains in the same way in both sets of images."""
    first, second = used.pattern @ directions.T, held_out.pattern @ directions.T
    variance = torch.einsum("rc,cd,rd->r", directions, held_out.covariance, directions)
    return (first * second).mean(dim=0) / variance.clamp_min(torch.finfo(torch.float64).tiny)


def _erased(removed: Tensor, mean: Tensor, pattern: Tensor, numbers: dict[str, float]) -> Affine:
    """X - removed (x - mean) + pattern."""
    weight = torch.eye(len(mean), dtype=torch.float64) - removed
    return Affine(weight=weight, bias=removed @ mean, pattern=pattern, numbers=numbers)


def _check_rank(rank: int, most: int) -> None:
    if rank > most:
        raise ConfigError(f"rank={rank}: the mean map has {most} directions. Give at most that.")
