"""The distance between feature vectors that all stages share: squared error plus cosine distance (paper, eq. 6-8)."""

import torch
from torch import Tensor
from torch.nn import functional


def feature_distance(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared error plus one minus mean cosine similarity.

    Args:
        prediction: (..., C) feature vectors.
        target: (..., C), the same shape.
        weight: factor of each vector's distance, of a shape that broadcasts to (...); None: 1.

    Returns:
        A scalar. The squared error is a mean over vectors and channels, as in the released code of the original
        (the paper writes squared norms).
    """
    if weight is not None:
        squared_errors = (prediction - target).square().mean(dim=-1)
        return (weight * (squared_errors + 1.0 - torch.cosine_similarity(prediction, target, dim=-1))).mean()
    squared_error = functional.mse_loss(prediction, target)
    cosine = torch.cosine_similarity(prediction, target, dim=-1).mean()
    return squared_error + (1.0 - cosine)
