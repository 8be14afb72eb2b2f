"""Options of linear depth. A light module: it may be imported to print help."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from dvt.errors import ConfigError


class DepthDataset(str, Enum):
    """Where pictures and depths come from."""

    sevenscenes = "sevenscenes"
    """7-Scenes: one room, as a flat folder of frames or as seq-XX folders."""
    nyuv2 = "nyuv2"
    """NYU Depth v2 with the lists nyu_train.txt and nyu_test.txt."""


class DepthProtocol(str, Enum):
    """How the head is trained and tested."""

    quick = "quick"
    """Small squashed pictures, features kept in memory, a few hundred steps."""
    paper = "paper"
    """The protocol of the DVT paper: large random crops, features on the fly, 38,400 steps."""


class GradientLoss(str, Enum):
    """The second term of the loss."""

    correct = "correct"
    """Differences between neighbouring pixels, at several scales."""
    original = "original"
    """As in the released code, which slices the batch axis instead of the rows: always zero."""


@dataclass(kw_only=True, slots=True)
class SevenScenesConfig:
    """How the frames of one recording are split; unused where TrainSplit.txt and TestSplit.txt say it."""

    num_blocks: int = 10
    """The frames in order are cut into this many blocks of equal length."""
    test_every: int = 3
    """Every so-manieth block is for testing (with 3: the third, sixth and ninth)."""
    gap: int = 5
    """Frames next to a test block that are left out of training."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        if not 2 <= self.test_every <= self.num_blocks or self.gap < 0:
            raise ConfigError(
                f"sevenscenes.num_blocks={self.num_blocks}, sevenscenes.test_every={self.test_every},"
                f" sevenscenes.gap={self.gap}: give 2 <= test_every <= num_blocks, and a gap of 0 or more."
            )


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
    """AdamW, half a cosine, linear warm-up, one cycle of momentum."""

    num_steps: int
    """Updates of the head."""
    batch_size: int
    """Pictures per update."""
    learning_rate: float
    """Start of the cosine."""
    warmup_steps: int
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
                raise ConfigError(f"optimizer.{name}={getattr(self, name)}: give a number above 0.")
        for name in ("warmup_steps", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"optimizer.{name}={getattr(self, name)}: give 0 or more.")
        for name in ("warmup_factor", "momentum_high", "momentum_low", "momentum_turn"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"optimizer.{name}={getattr(self, name)}: give 0 <= {name} < 1.")


def _quick_optimizer() -> OptimizerConfig:
    return OptimizerConfig(num_steps=300, batch_size=8, learning_rate=3e-3, warmup_steps=30)


def _paper_optimizer() -> OptimizerConfig:
    return OptimizerConfig(num_steps=38_400, batch_size=16, learning_rate=5e-3, warmup_steps=12_800)


@dataclass(kw_only=True, slots=True)
class QuickConfig:
    """Small squashed pictures, features kept in memory."""

    image_size: Any = 224
    """Size in pixels that a picture is squashed to: one number, or [height,width]."""
    max_train: int = 1000
    """Training pictures at most, evenly spread over the list; bounds memory."""
    standardise: bool = True
    """Bring every channel to mean 0 and variance 1 over the training pictures; the paper's head does not."""
    optimizer: OptimizerConfig = field(default_factory=_quick_optimizer)
    """How the head is trained."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        if self.max_train < 1:
            raise ConfigError(f"quick.max_train={self.max_train}: give at least 1.")


@dataclass(kw_only=True, slots=True)
class PaperConfig:
    """Random crops, features on the fly, as in the DVT paper's evaluation."""

    train_size: Any = field(default_factory=lambda: [416, 544])
    """Height and width of a random crop; looked at in the nearest larger size that fits the patch."""
    test_size: Any = field(default_factory=lambda: [480, 640])
    """Height and width that a test picture is looked at in, likewise."""
    flip_test: bool = True
    """The prediction is the mean of that on the picture and that on its mirror image, mirrored back."""
    rotation_degrees: float = 2.5
    """Training pictures are turned by up to this angle."""
    rotation_share: float = 0.5
    """Share of the training pictures that are turned."""
    flip_share: float = 0.5
    """Share of the training pictures that are mirrored."""
    colour_share: float = 0.5
    """Share of the training pictures whose colours are changed."""
    gamma_range: float = 0.1
    """Gamma is drawn from 1 minus to 1 plus this."""
    brightness_range: float = 0.25
    """Brightness is multiplied by 1 minus to 1 plus this."""
    channel_range: float = 0.1
    """Red, green and blue are each multiplied by 1 minus to 1 plus this."""
    workers: int = 4
    """Threads that read and change training pictures while the head is trained."""
    optimizer: OptimizerConfig = field(default_factory=_paper_optimizer)
    """How the head is trained."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        for name in ("rotation_share", "flip_share", "colour_share", "gamma_range", "brightness_range", "channel_range"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"paper.{name}={getattr(self, name)}: give 0 <= {name} <= 1.")
        if self.workers < 1:
            raise ConfigError(f"paper.workers={self.workers}: give at least 1.")


@dataclass(kw_only=True, slots=True)
class LinearDepthConfig:
    """Linear depth on frozen features."""

    dataset: DepthDataset = DepthDataset.sevenscenes
    """sevenscenes or nyuv2."""
    protocol: DepthProtocol | None = None
    """quick or paper; left out: quick on sevenscenes, paper on nyuv2."""
    layout: str = "usual"
    """usual, crops (random crops, half of them upside down) or upside_down (test pictures only)."""
    eigen_crop: bool | None = None
    """Score only rows 45 to 470 and columns 41 to 600 of 480 x 640 pictures; left out: on nyuv2 alone."""
    max_test: int | None = None
    """Test pictures at most, evenly spread over the list; left out: all."""
    seeds: int = 3
    """Runs that differ in the first weights of the head and in the order of the pictures."""
    head: HeadConfig = field(default_factory=HeadConfig)
    """The head."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The loss."""
    sevenscenes: SevenScenesConfig = field(default_factory=SevenScenesConfig)
    """The split of sevenscenes."""
    quick: QuickConfig = field(default_factory=QuickConfig)
    """Numbers of the quick protocol."""
    paper: PaperConfig = field(default_factory=PaperConfig)
    """Numbers of the paper's protocol."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        if self.seeds < 1:
            raise ConfigError(f"seeds={self.seeds}: give at least 1.")
        if self.max_test is not None and self.max_test < 1:
            raise ConfigError(f"max_test={self.max_test}: give at least 1, or leave it out.")

    @property
    def chosen_protocol(self) -> DepthProtocol:
        """The one that was given, or that goes with the data set."""
        if self.protocol is not None:
            return self.protocol
        return DepthProtocol.quick if self.dataset is DepthDataset.sevenscenes else DepthProtocol.paper
