"""Some tokens of many maps, for scores that need them all at once."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from dvt.shapes import FeatureMaps, Tokens

MAX_TOKENS = 16_384
"""How many are kept at most (but one of every map): 64 MB with 1024 channels."""


class TokenSample:
    """The same number of tokens of every map, at random places."""

    def __init__(self, num_maps: int, *, seed: int = 0, max_tokens: int = MAX_TOKENS):
        """Begin.

        Args:
            num_maps: how many maps there will be.
            seed: of the places.
            max_tokens: how many tokens to keep at most; at least one of every map is kept.
        """
        self._quota = max(1, max_tokens // num_maps)
        self._rng = torch.Generator().manual_seed(seed)
        self._parts: list[Tensor] = []
        self._patches: list[Tensor] = []
        self._pictures: list[int] = []
        self._hw = (0, 0)

    def update(self, maps: FeatureMaps, pictures: Sequence[int]) -> None:
        """Add feature maps.

        Args:
            maps: (B, H, W, C).
            pictures: number of the picture that each map is of.
        """
        self._hw = (maps.shape[1], maps.shape[2])
        tokens = maps.detach().flatten(1, 2)
        for one, picture in zip(tokens, pictures, strict=True):
            places = torch.randperm(len(one), generator=self._rng)[: self._quota]
            self._parts.append(one[places.to(one.device)].float().cpu())
            self._patches.append(places)
            self._pictures += [picture] * len(places)

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
    def pictures(self) -> Int[Tensor, " N"]:
        """Number of the picture of each token."""
        return torch.tensor(self._pictures)
