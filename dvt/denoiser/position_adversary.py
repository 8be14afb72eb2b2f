"""A position adversary: it reads where a patch stood from its denoised features; the denoiser learns to prevent that.

The discriminator and its stabilisers are those of ViTGAN (Lee et al., ICLR 2022): attention by distances, spectral
norms that stay as they were, and balanced consistency regularisation (bCR, Zhao et al., AAAI 2021).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from dvt.denoiser.config import HEAD_CHANNELS, AdversaryConfig, Answer
from dvt.denoiser.l2_attention import L2Attention
from dvt.denoiser.spectral_norm import SpectralLinear
from dvt.runtime import seed_for
from dvt.shapes import FinerMaps, Float, Int64

Sets = Float[Tensor, "S N C"]
"""Sets of N tokens."""
Answers = Float[Tensor, "S N places"]
"""For every token the logits of the H rows, then of the W columns."""


@dataclass(frozen=True, slots=True)
class Losses:
    """The losses of one step."""

    reads: Tensor
    """Cross-entropy of the right row plus that of the right column, the mean of denoised and clean features."""
    consistency: Tensor
    """bCR: mean squared difference of the logits of a token in two sets."""
    reveals: Tensor
    """What the denoiser minimises: the divergence of the answers of denoised features from the wanted ones, in nats."""


class PositionAdversary(nn.Module):
    """A ViT on sets of tokens, without position embedding: the row and the column of every token on its map.

    It reads sets of `config.tokens` tokens from all over a map. Tokens are normed before they are read.

    Attributes:
        config: its options.
        grid_hw: H rows and W columns that it tells apart.

    Examples:
        >>> import torch
        >>> from dvt.denoiser.config import AdversaryConfig
        >>> adversary = PositionAdversary(AdversaryConfig(weight=0.1), num_channels=8, grid_hw=(4, 6))
        >>> adversary(torch.zeros(3, 5, 8)).shape  # 3 sets of 5 tokens, 4 + 6 places
        torch.Size([3, 5, 10])
    """

    def __init__(self, config: AdversaryConfig, num_channels: int, grid_hw: tuple[int, int]):
        """Draw its weights.

        Args:
            config: its options.
            num_channels: C of the features.
            grid_hw: rows and columns of the maps.
        """
        super().__init__()
        self.config, self.grid_hw = config, grid_hw
        channels = config.channels
        self.enter = nn.Sequential(
            nn.LayerNorm(num_channels, elementwise_affine=False), SpectralLinear(num_channels, channels)
        )
        self.blocks = nn.Sequential(*(_Block(channels) for _ in range(config.num_blocks)))
        self.answer = nn.Sequential(nn.LayerNorm(channels), SpectralLinear(channels, sum(grid_hw)))

    def forward(self, sets: Sets) -> Answers:
        """The logits of the rows, then of the columns, of every token."""
        answers: Tensor = self.answer(self.blocks(self.enter(sets)))
        return answers

    def losses(self, denoised: FinerMaps, clean: FinerMaps, seed: int, step: int) -> Losses:
        """The losses of a step. Their sum can be minimised at once: each reaches one of the two networks only.

        Args:
            denoised: (B, H, W, C), with gradients to the denoiser.
            clean: (B, H, W, C), its target.
            seed: of the run.
            step: number of the step; with the seed it decides which tokens make up a set.
        """
        for module in self.modules():
            if isinstance(module, SpectralLinear):
                module.follow()
        order = self.order(seed_for(seed, f"adversary at step {step}"))
        kept = torch.randperm(len(order), generator=_rng(seed_for(seed, f"adversary again at step {step}")))
        both = torch.cat([denoised.detach(), clean])
        answers, again = self.read(both, order), self.read(both, order[kept])
        frozen = {name: parameter.detach() for name, parameter in self.named_parameters()}
        revealed = functional_call(self, frozen, self.token_sets(denoised, order)).float()
        wanted = None if self.config.answer is Answer.uniform else answers[len(denoised) :].detach()
        return Losses(
            reads=self._cross_entropy(answers, order),
            consistency=(answers[:, kept] - again).square().mean(),
            reveals=self._divergence(wanted, revealed.reshape(len(denoised), len(order), -1)),
        )

    def order(self, seed: int) -> Int64[Tensor, " P"]:
        """Patches, row-major, in the order in which they fill the sets of a map.

        All maps of a step share it, so that several processes read what one would.
        """
        rows, columns = self.grid_hw
        num_sets = min(self.config.sets, rows * columns // self.config.tokens)
        return torch.randperm(rows * columns, generator=_rng(seed))[: num_sets * self.config.tokens]

    def token_sets(self, maps: FinerMaps, order: Int64[Tensor, " P"]) -> Sets:
        """The tokens of (B, H, W, C) maps in sets, those of one map after the other."""
        tokens = maps.flatten(1, 2)[:, order.to(maps.device)]
        return tokens.reshape(-1, self.config.tokens, maps.shape[-1])

    def read(self, maps: FinerMaps, order: Int64[Tensor, " P"]) -> Float[Tensor, "B P places"]:
        """The answers for the patches `order` of (B, H, W, C) maps."""
        answers: Tensor = self(self.token_sets(maps, order))
        return answers.float().reshape(len(maps), len(order), -1)

    def accuracy(self, maps: FinerMaps) -> Float[Tensor, " B"]:
        """Share of the rows and columns of (B, H, W, C) maps that it reads right; the same sets at every call."""
        order = self.order(seed_for(0, "adversary in validation"))
        rows, columns = self._sides(self.read(maps, order))
        at_row, at_column = self._places(order, maps.device)
        right = (rows.argmax(dim=-1) == at_row).float() + (columns.argmax(dim=-1) == at_column).float()
        return right.mean(dim=1) / 2

    @property
    def chance(self) -> float:
        """The accuracy of one who sees nothing."""
        rows, columns = self.grid_hw
        return (1 / rows + 1 / columns) / 2

    def _sides(self, answers: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of the rows, and those of the columns."""
        return answers[..., : self.grid_hw[0]], answers[..., self.grid_hw[0] :]

    def _places(self, order: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """The row and the column of each patch."""
        columns = self.grid_hw[1]
        return (order // columns).to(device), (order % columns).to(device)

    def _cross_entropy(self, answers: Tensor, order: Tensor) -> Tensor:
        """That of the right rows plus that of the right columns."""
        sides = zip(self._sides(answers), self._places(order, answers.device), strict=True)
        rows, columns = (
            functional.cross_entropy(logits.flatten(0, 1), places.repeat(len(answers))) for logits, places in sides
        )
        return rows + columns

    def _divergence(self, wanted: Tensor | None, given: Tensor) -> Tensor:
        """KL(wanted || given) of rows plus that of columns; None: all places alike."""
        targets = torch.zeros_like(given) if wanted is None else wanted
        rows, columns = (
            functional.kl_div(
                logits.log_softmax(dim=-1).flatten(0, 1), target.log_softmax(dim=-1).flatten(0, 1),
                reduction="batchmean", log_target=True,
            )
            for target, logits in zip(self._sides(targets), self._sides(given), strict=True)
        )  # fmt: skip
        return rows + columns


class _Block(nn.Module):
    """A pre-norm transformer block whose linear layers keep their spectral norms."""

    def __init__(self, num_channels: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(num_channels) for _ in range(2))
        self.attention = L2Attention(num_channels, num_channels // HEAD_CHANNELS)
        self.mlp = nn.Sequential(
            SpectralLinear(num_channels, 4 * num_channels), nn.GELU(), SpectralLinear(4 * num_channels, num_channels)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.norms[0](tokens))
        refined: Tensor = tokens + self.mlp(self.norms[1](tokens))
        return refined


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
