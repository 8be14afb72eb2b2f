"""Position R^2: how well a linear probe predicts the position on the grid from a token."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dvt.shapes import FeatureMaps, Float, Int, Tokens

MAX_TOKENS = 16_384
"""Largest number of tokens of a sample: 64 MB with 1024 channels."""
FOLDS = 4
"""Number of blocks of images; each is tested with a probe that was fitted to the others."""
RIDGE = 0.1
"""Weight of the penalty, per token, on standardised channels. Of 1e-4 to 10 it gives the largest R^2, or 0.005 less, in
nine of ten cases (five layers of AugReg and DeiT ViT-Ti, 40 and 100 images); smaller weights fit chance."""


class TokenSample:
    """The same number of tokens of every map, at random places; for scores that need all tokens at once."""

    def __init__(self, num_maps: int, *, seed: int = 0, max_tokens: int = MAX_TOKENS):
        """Start an empty sample.

        Args:
            num_maps: number of maps that will be added.
            seed: seed for the places.
            max_tokens: largest number of tokens; at least one of every map is kept.
        """
        self._quota = max(1, max_tokens // num_maps)
        self._rng = torch.Generator().manual_seed(seed)
        self._parts: list[Tensor] = []
        self._patches: list[Tensor] = []
        self._images: list[int] = []
        self._hw = (0, 0)

    def update(self, maps: FeatureMaps, images: Sequence[int]) -> None:
        """Add feature maps.

        Args:
            maps: (B, H, W, C).
            images: number of the image of each map.
        """
        self._hw = (maps.shape[1], maps.shape[2])
        tokens = maps.detach().flatten(1, 2)
        for one, image in zip(tokens, images, strict=True):
            places = torch.randperm(len(one), generator=self._rng)[: self._quota]
            self._parts.append(one[places.to(one.device)].float().cpu())
            self._patches.append(places)
            self._images += [image] * len(places)

    @property
    def hw(self) -> tuple[int, int]:
        """Rows and columns of the maps."""
        return self._hw

    @property
    def tokens(self) -> Tokens:
        """(N, C) float32 on the CPU."""
        return torch.cat(self._parts)

    @property
    def rows_columns(self) -> Int[Tensor, "N 2"]:
        """Row and column of each token."""
        patches = torch.cat(self._patches)
        return torch.stack((patches // self._hw[1], patches % self._hw[1]), dim=1)

    @property
    def images(self) -> Int[Tensor, " N"]:
        """Number of the image of each token."""
        return torch.tensor(self._images)


@dataclass(frozen=True, slots=True, eq=False)
class PositionR2:
    """How well a linear probe predicts the position."""

    x: float
    """R^2 of the column; 1 is perfect, 0 no better than the middle, below 0 worse."""
    y: float
    """R^2 of the row."""
    map: Float[Tensor, "H W"]
    """Contribution of each patch: squared error of guessing the middle minus that of the probe, over the mean of the
    former. Its mean is about the R^2; NaN where the sample has no token."""

    @property
    def value(self) -> float:
        """The mean of both."""
        return (self.x + self.y) / 2


def position_r2(sample: TokenSample) -> PositionR2:
    """Fit ridge regression from tokens to patch centres and test it on other images.

    Args:
        sample: tokens of at least two images, on a grid of at least two rows and columns.
    """
    tokens, places = sample.tokens.double(), _places(sample)
    images = sample.images
    blocks = torch.tensor_split(torch.unique(images), FOLDS)
    errors = torch.empty_like(places)
    for block in blocks:
        test = torch.isin(images, block)
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
    assert len(tokens) > 1, "there are other images"
    mean, scale = tokens.mean(dim=0), tokens.std(dim=0)
    scale = torch.where(scale > 1e-6 * scale.max(), scale, torch.inf)  # a constant channel is ignored
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
