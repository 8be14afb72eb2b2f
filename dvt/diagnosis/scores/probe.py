"""Position R^2: how well a linear probe reads the position on the grid off a token."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dvt.diagnosis.scores.sample import TokenSample

FOLDS = 4
"""Blocks of pictures; each is tested by a probe that was fitted to the others."""
RIDGE = 0.1
"""Weight of the penalty, per token, on standardised channels. Of 1e-4 to 10 it gave the largest R^2, or 0.005 less, in
nine of ten cases (five layers of AugReg and DeiT ViT-Ti, 40 and 100 pictures); smaller ones fit chance."""


@dataclass(frozen=True, slots=True, eq=False)
class PositionR2:
    """How well position can be read off."""

    x: float
    """R^2 of the column; 1 is perfect, 0 no better than the middle, below 0 worse."""
    y: float
    """R^2 of the row."""
    map: Float[Tensor, "H W"]
    """What each patch adds: the squared error that guessing the middle makes, less that of the probe, over the mean of
    the former. Its mean is about the R^2; NaN where the sample has no token."""

    @property
    def value(self) -> float:
        """The mean of both."""
        return (self.x + self.y) / 2


def position_r2(sample: TokenSample) -> PositionR2:
    """Fit ridge regression from tokens to patch centres, and test it on pictures that it has not seen.

    Args:
        sample: tokens of at least two pictures, on a grid of at least two rows and columns.
    """
    tokens, places = sample.tokens.double(), _places(sample)
    pictures = sample.pictures
    blocks = torch.tensor_split(torch.unique(pictures), FOLDS)
    errors = torch.empty_like(places)
    for block in blocks:
        test = torch.isin(pictures, block)
        if bool(test.any()):
            errors[test] = _predict(tokens[~test], places[~test], tokens[test]) - places[test]
    squares = errors.square()
    spread = (places - places.mean(dim=0)).square().mean(dim=0)
    x, y = (1 - squares.mean(dim=0) / spread).tolist()
    gained = ((places - places.mean(dim=0)).square() - squares).sum(dim=1) / spread.sum()
    return PositionR2(x=x, y=y, map=_by_patch(gained, sample))


def _places(sample: TokenSample) -> Float[Tensor, "N 2"]:
    """Column and row of each token, from -1 to 1 over the grid."""
    rows, columns = sample.hw
    assert rows > 1 and columns > 1, sample.hw
    row, column = sample.rows_columns.double().unbind(dim=1)
    return torch.stack((2 * column / (columns - 1) - 1, 2 * row / (rows - 1) - 1), dim=1)


def _predict(
    tokens: Float[Tensor, "M C"], places: Float[Tensor, "M 2"], unseen: Float[Tensor, "K C"]
) -> Float[Tensor, "K 2"]:
    assert len(tokens) > 1, "there are other pictures"
    mean, scale = tokens.mean(dim=0), tokens.std(dim=0)
    scale = torch.where(scale > 1e-6 * scale.max(), scale, torch.inf)  # a constant channel says nothing
    standard = (tokens - mean) / scale
    middle = places.mean(dim=0)
    gram = standard.T @ standard
    gram.diagonal().add_(RIDGE * len(tokens))
    weights: Tensor = torch.linalg.solve(gram, standard.T @ (places - middle))
    return (unseen - mean) / scale @ weights + middle


def _by_patch(values: Float[Tensor, " N"], sample: TokenSample) -> Float[Tensor, "H W"]:
    rows, columns = sample.hw
    patches = sample.rows_columns @ torch.tensor([columns, 1])
    sums = torch.zeros(rows * columns, dtype=values.dtype).index_add_(0, patches, values)
    counts = torch.bincount(patches, minlength=rows * columns)
    return (sums / counts).reshape(rows, columns).float()
