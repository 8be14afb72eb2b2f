"""KoLeo: how evenly descriptors are spread over the sphere."""

from typing import Final

import torch

from dvt.shapes import Tokens

_ROWS: Final = 256


def koleo(descriptors: Tokens) -> tuple[float, int]:
    """-(1/N) sum_i log min_j |z_i - z_j| over j other than i (Kozachenko and Leonenko; El-Nouby et al. 2021).

    The smaller, the further descriptors are from their nearest neighbours. It depends on N: compare it on the same
    pictures alone. Descriptors with a twin, at distance 0, would make it infinite: they are left out of the mean.

    Args:
        descriptors: of length 1, at least two.

    Returns:
        The value, NaN where each has a twin; and how many have one.
    """
    distances = []
    for start in range(0, len(descriptors), _ROWS):
        rows = descriptors[start : start + _ROWS]
        similarities = rows @ descriptors.T
        similarities.diagonal(start).fill_(-torch.inf)
        nearest = descriptors[similarities.argmax(dim=1)]
        distances.append((rows - nearest).norm(dim=1))  # exact near 0, as sqrt(2 - 2 cos) is not
    distance = torch.cat(distances)
    apart = distance[distance > 0]
    return float(-apart.log().mean()), len(distance) - len(apart)
