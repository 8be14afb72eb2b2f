"""Options of the depth head and of its training. A light module: it may be imported to print help."""

from dataclasses import dataclass
from enum import Enum

from dvt.errors import ConfigError


class GradientLoss(str, Enum):
    """The second term of the loss."""

    correct = "correct"
    """Differences between neighbouring pixels, at several scales."""
    original = "original"
    """As in the released code, which slices the batch axis instead of the rows: always zero."""

    def __str__(self) -> str:
        return self.value


@dataclass(kw_only=True, slots=True)
class HeadConfig:
    """The linear head: logits for depth bins, upsampled, and the mean depth under them."""

    num_bins: int = 256
    """Depths that the head weighs against each other, evenly spaced."""
    min_depth: float = 0.001
    """Smallest depth in metres; smaller ones count as unknown."""
    max_depth: float = 10.0
    """Largest depth in metres; larger ones count as unknown."""
    upsampling: int = 4
    """The feature map is upsampled this many times, bilinearly."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        if self.num_bins < 2 or self.upsampling < 1 or not 0 < self.min_depth < self.max_depth:
            raise ConfigError(
                f"head.num_bins={self.num_bins}, head.upsampling={self.upsampling}, head.min_depth={self.min_depth},"
                f" head.max_depth={self.max_depth}: give at least 2 bins, an upsampling of at least 1, and"
                " 0 < min_depth < max_depth."
            )


@dataclass(kw_only=True, slots=True)
class LossConfig:
    """Scale-invariant log loss and gradient loss."""

    mean_weight: float = 0.15
    """Weight of the squared mean of the log error beside its variance; 0 would ignore the scale."""
    variance_from: int = 100
    """The first so many steps leave the variance out."""
    gradient: GradientLoss = GradientLoss.correct
    """Which gradient loss: correct, or original (always zero)."""
    gradient_weight: float = 0.5
    """Weight of the gradient loss; 0: none."""
    gradient_scales: int = 4
    """The gradient loss looks at every pixel, every 2nd, 4th, 8th."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        for name in ("mean_weight", "variance_from", "gradient_weight"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"loss.{name}={getattr(self, name)}: give 0 or more.")
        if self.gradient_scales < 1:
            raise ConfigError(f"loss.gradient_scales={self.gradient_scales}: give at least 1.")


@dataclass(kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW, half a cosine, linear warm-up, one cycle of momentum; the defaults are the paper's."""

    num_steps: int = 38_400
    """Updates of the head."""
    batch_size: int = 16
    """Pictures per update."""
    learning_rate: float = 5e-3
    """Start of the cosine."""
    warmup_steps: int = 12_800
    """Steps in which the learning rate rises to the cosine."""
    warmup_factor: float = 0.001
    """Share of the cosine at which the warm-up begins."""
    weight_decay: float = 0.01
    """Decoupled decay of AdamW."""
    clip_norm: float = 35.0
    """Gradients are scaled down to this norm."""
    momentum_high: float = 0.95
    """beta1 of AdamW at the first and last step."""
    momentum_low: float = 0.85
    """beta1 of AdamW at the turn."""
    momentum_turn: float = 0.3
    """Share of the steps after which beta1 rises again."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        for name in ("num_steps", "batch_size", "learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)} of the depth head's optimizer: give a number above 0.")
        for name in ("warmup_steps", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name}={getattr(self, name)} of the depth head's optimizer: give 0 or more.")
        for name in ("warmup_factor", "momentum_high", "momentum_low", "momentum_turn"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} of the depth head's optimizer: give 0 <= {name} < 1.")
