"""Pruning: which patches a ViT drops on its way, how it learns that, and how they come back.

DynamicViT (Rao et al., NeurIPS 2021) for feature maps. Before some blocks a predictor gives every patch that is left a
probability to be kept. In training the choice is drawn (Gumbel-softmax), and dropped patches are masked in the
attention of the others. Afterwards the k patches with the largest probabilities of each image go on; the others are
removed. The paper classifies images and never needs the dropped patches again. Here they come back at the end, by
their last state through one linear layer.

The forward pass itself is in `dvt.backbone.sources.timm_pruned`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dvt.errors import BackboneError
from dvt.shapes import Float, Int64

PRUNING = "pruning"
"""Name of the module in a ViT of timm, and the first part of the names of its tensors."""
_KEEP = "keep_share"


class Predictor(nn.Module):
    """How likely each patch is to be kept (DynamicViT, s. 3.2).

    One half of its features is of the patch itself, the other is the mean over the patches that are left. It starts at
    the share that is to be kept.
    """

    def __init__(self, channels: int, keep: float):
        """Make one.

        Args:
            channels: C of the patches.
            keep: share of the patches that it is to keep, 0 < keep < 1.
        """
        super().__init__()
        half = channels // 2
        self.norm = nn.LayerNorm(channels)
        self.local = nn.Linear(channels, half)
        self.around = nn.Linear(channels, half)
        self.hidden = nn.Linear(2 * half, half)
        self.choice = nn.Linear(half, 2)
        with torch.no_grad():
            self.choice.bias.copy_(torch.tensor([math.log(1 - keep), math.log(keep)]))

    def forward(self, patches: Float[Tensor, "B N C"], left: Float[Tensor, "B N"] | None = None) -> Tensor:
        """(B, N, 2) logarithms of the probabilities to be dropped and kept.

        Args:
            patches: before the next block.
            left: 1 for patches that are left, 0 for those that were dropped; None: all are left.
        """
        normed = self.norm(patches)
        local, around = (nn.functional.gelu(layer(normed)) for layer in (self.local, self.around))
        if left is None:
            mean = around.mean(dim=1, keepdim=True)
        else:
            weights = left[..., None].to(around.dtype)
            mean = (around * weights).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True).clamp(min=1)
        both = torch.cat([local, mean.expand_as(local)], dim=-1)
        choice: Tensor = self.choice(nn.functional.gelu(self.hidden(both)))
        return choice.float().log_softmax(dim=-1)


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """What one predictor decided for a batch of images."""

    scores: Float[Tensor, "B n"]
    """Probability to be kept of the n patches that were left before it."""
    kept: Int64[Tensor, "B k"]
    """Numbers of the k patches that are left after it, row-major on the patch grid, ascending."""


@dataclass(slots=True)
class Draws:
    """Random masks of a training step."""

    rng: torch.Generator
    """Draws them, on the CPU: the same on every device."""
    shares: list[Tensor] = field(default_factory=list)
    """(B,) share of the patches of each image that is left after each predictor so far, with gradients."""


_DRAWS: ContextVar[Draws | None] = ContextVar("draws", default=None)
_STAGES: ContextVar[list[Stage] | None] = ContextVar("stages", default=None)


class Pruning(nn.Module):
    """The predictors of a ViT, and the linear layer for the patches that come back.

    Attributes:
        keep: share of the patches that each predictor keeps.
        predictors: by the number of the block that they stand before.
        restore: the linear layer; it starts as the identity.
    """

    def __init__(self, channels: int, places: Sequence[int], keep: float):
        """Make untrained ones.

        Args:
            channels: C of the ViT.
            places: numbers of the blocks before which patches are dropped, counted from 0.
            keep: share of the patches that each predictor keeps, 0 < keep < 1.
        """
        super().__init__()
        self.keep = keep
        self.register_buffer(_KEEP, torch.tensor([keep]))  # in the weights file, which then says all
        self.predictors = nn.ModuleDict({str(place): Predictor(channels, keep) for place in places})
        self.restore = nn.Linear(channels, channels)
        with torch.no_grad():
            self.restore.weight.copy_(torch.eye(channels))
            self.restore.bias.zero_()

    @classmethod
    def of_depth(cls, channels: int, num_blocks: int, keep: float) -> "Pruning":
        """Untrained ones after a quarter, half and three quarters of the blocks, the same each time.

        Args:
            channels: C of the ViT.
            num_blocks: blocks up to the layer in use.
            keep: share of the patches that each predictor keeps, 0 < keep < 1.

        Raises:
            BackboneError: fewer than four blocks.

        Examples:
            >>> Pruning.of_depth(64, 12, 0.7).places
            (3, 6, 9)
        """
        if num_blocks < 4:
            raise BackboneError(
                "patches are dropped after a quarter, half and three quarters of the blocks, which takes at least 4,"
                f" and the ViT has {num_blocks} up to the layer in use. Give a later layer, or student.keep=1."
            )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return cls(channels, [num_blocks * quarter // 4 for quarter in (1, 2, 3)], keep)

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> "Pruning | None":
        """Untrained ones of the shape that the tensors of a ViT have; None where it does not drop patches.

        Args:
            state: tensors by name; those of a pruning begin with `pruning.`.

        Examples:
            >>> pruning = Pruning(64, (1, 3, 4), 0.7)
            >>> state = {f"pruning.{name}": tensor for name, tensor in pruning.state_dict().items()}
            >>> Pruning.of_state(state).places, Pruning.of_state(state).keep, Pruning.of_state({})
            ((1, 3, 4), 0.7, None)
        """
        keep, restore = state.get(f"{PRUNING}.{_KEEP}"), state.get(f"{PRUNING}.restore.bias")
        if keep is None or restore is None:
            return None
        start = f"{PRUNING}.predictors."
        places = {int(name.removeprefix(start).partition(".")[0]) for name in state if name.startswith(start)}
        return cls(len(restore), sorted(places), round(float(keep), 6))

    @property
    def places(self) -> tuple[int, ...]:
        """Numbers of the blocks before which patches are dropped, counted from 0."""
        return tuple(int(place) for place in self.predictors)

    def num_kept(self, stage: int, num_patches: int) -> int:
        """Number of patches that are left after a predictor: keep, keep^2, keep^3 of all, rounded, at least 1.

        Args:
            stage: which predictor, counted from 0.
            num_patches: N of the image.

        Examples:
            >>> [Pruning(64, (3, 6, 9), 0.7).num_kept(stage, 196) for stage in range(3)]
            [137, 96, 67]
        """
        return max(1, round(self.keep ** (stage + 1) * num_patches))

    def ratio_loss(self, shares: Sequence[Float[Tensor, " B"]]) -> Tensor:
        """Mean squared distance of the shares that are left from keep, keep^2, keep^3 (DynamicViT, s. 3.4).

        Args:
            shares: of each image, after each predictor.
        """
        wanted = [self.keep ** (stage + 1) for stage in range(len(shares))]
        return torch.stack([(share - goal).square().mean() for share, goal in zip(shares, wanted, strict=True)]).mean()


@contextmanager
def drawn_masks(seed: int) -> Iterator[Draws]:
    """Within it a ViT that drops patches draws them and masks them, as its training needs; otherwise it removes them.

    Args:
        seed: of the draws.
    """
    draws = Draws(torch.Generator().manual_seed(seed))
    token = _DRAWS.set(draws)
    try:
        yield draws
    finally:
        _DRAWS.reset(token)


@contextmanager
def watched_stages() -> Iterator[list[Stage]]:
    """Within it the decisions of every predictor are kept, in the order in which they are made."""
    stages: list[Stage] = []
    token = _STAGES.set(stages)
    try:
        yield stages
    finally:
        _STAGES.reset(token)


def current_draws() -> Draws | None:
    """The draws of `drawn_masks`; None outside of it."""
    return _DRAWS.get()


def note_stage(scores: Tensor, kept: Tensor) -> None:
    """Keep a decision for `watched_stages`."""
    if (stages := _STAGES.get()) is not None:
        stages.append(Stage(scores, kept))


def draw_kept(log_probabilities: Float[Tensor, "B N 2"], rng: torch.Generator) -> Float[Tensor, "B N"]:
    """1 for patches that are kept and 0 for the others, drawn; gradients are those of a softmax (Gumbel-softmax).

    Args:
        log_probabilities: to be dropped and kept.
        rng: draws, on the CPU.
    """
    tiny = torch.finfo(torch.float32).tiny
    uniform = torch.rand(log_probabilities.shape, generator=rng).clamp(min=tiny).to(log_probabilities.device)
    soft = (log_probabilities - (-uniform.log()).clamp(min=tiny).log()).softmax(dim=-1)[..., 1]
    hard = (soft > 0.5).to(soft.dtype)
    return hard + (soft - soft.detach())  # exactly 0 or 1


def masked_weights(logits: Float[Tensor, "B heads T T"], kept: Float[Tensor, "B T"]) -> Float[Tensor, "B heads T T"]:
    """Attention to kept tokens, and of each token to itself (DynamicViT, s. 3.3).

    w[i, j] = exp(logits[i, j]) G[i, j] / sum over k of exp(logits[i, k]) G[i, k], with G[i, j] = 1 for i = j, else
    kept[j]. Gradients reach `kept`. For them a dropped token counts at most as much as the strongest kept one, so that
    they stay finite.

    Args:
        logits: of query i and key j, scaled.
        kept: 0 or 1.

    Examples:
        >>> masked_weights(torch.zeros(1, 1, 2, 2), torch.tensor([[1.0, 0.0]]))[0, 0]
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000]])
    """
    gate = kept[:, None, None, :].float()
    gate = gate + (1 - gate) * torch.eye(kept.shape[1], device=kept.device)
    logits = logits.float()
    highest = logits.detach().masked_fill(gate == 0, -torch.inf).amax(dim=-1, keepdim=True)
    weights = (logits - highest).clamp(max=0).exp() * gate
    return weights / weights.sum(dim=-1, keepdim=True)


def take(tokens: Float[Tensor, "B N C"], numbers: Int64[Tensor, "B k"]) -> Float[Tensor, "B k C"]:
    """The tokens of these numbers."""
    return tokens.gather(1, numbers[..., None].expand(-1, -1, tokens.shape[2]))


def put_back(
    everywhere: Float[Tensor, "B N C"], tokens: Float[Tensor, "B k C"], numbers: Int64[Tensor, "B k"]
) -> Float[Tensor, "B N C"]:
    """`everywhere`, with these tokens at the places of their numbers; the inverse of `take`.

    Examples:
        >>> put_back(torch.zeros(1, 3, 1), torch.ones(1, 1, 1), torch.tensor([[2]])).flatten().tolist()
        [0.0, 0.0, 1.0]
    """
    return everywhere.scatter(1, numbers[..., None].expand_as(tokens), tokens.to(everywhere.dtype))


def blocks_passed(stages: Sequence[Stage], places: Sequence[int], num_blocks: int, num_patches: int) -> Tensor:
    """(B, N) number of blocks that each patch goes through.

    Args:
        stages: the decisions of a pass.
        places: numbers of the blocks before which they were made.
        num_blocks: that the pass ran.
        num_patches: N.
    """
    batch = stages[0].kept.shape[0]
    passed = torch.full((batch, num_patches), places[0], device=stages[0].kept.device)
    for stage, until in zip(stages, [*places[1:], num_blocks], strict=True):
        passed = passed.scatter(1, stage.kept, until)
    return passed
