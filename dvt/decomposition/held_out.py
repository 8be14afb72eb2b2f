"""How well a solution describes views that it has not seen."""

import torch

from dvt.decomposition.solution import Solution
from dvt.decomposition.tokens import ViewTokens


@torch.no_grad()
def held_out_error(solution: Solution, held_out: ViewTokens) -> float:
    """Mean square of raw - F - G over views out of the fit, as a share of the variance of their features.

    0 is perfect, 1 is as good as their mean. Views are taken one by one: F at the places of all of them would be
    another token matrix.
    """
    errors = [
        (raw - solution.clean_at(image_xy) - solution.artifact).square().mean()
        for raw, image_xy in zip(held_out.raw, held_out.image_xy, strict=True)
    ]
    return float(torch.stack(errors).mean() / held_out.variance)
