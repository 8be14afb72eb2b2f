"""Options of the task linear_depth."""

from dataclasses import dataclass, field
from typing import Any

from dvt.errors import ConfigError
from dvt.evaluation.config.layout import Layout
from dvt.options import Choice, check_each_once, check_range


class DepthDataset(Choice):
    """Images with depth."""

    sevenscenes = "sevenscenes"
    """7-Scenes: one room, as a flat folder of frames or as folders seq-XX."""
    nyuv2 = "nyuv2"
    """NYU Depth v2 with the lists nyu_train.txt and nyu_test.txt."""


class DepthProtocol(Choice):
    """Protocol of the depth head."""

    quick = "quick"
    """Small images, features kept in memory, a few hundred steps."""
    paper = "paper"
    """The DVT paper's protocol: large random crops, features on the fly, 38,400 steps."""


@dataclass(kw_only=True, slots=True)
class SevenScenesConfig:
    """Split of the frames of a sequence; unused where TrainSplit.txt and TestSplit.txt exist."""

    num_blocks: int = 10
    """Blocks of equal length that the ordered frames are cut into."""
    test_every: int = 3
    """Use every n-th block for testing (3: the third, sixth and ninth)."""
    gap: int = 5
    """Frames next to a test block to leave out of training."""

    def __post_init__(self) -> None:
        if not 2 <= self.test_every <= self.num_blocks or self.gap < 0:
            raise ConfigError(
                f"sevenscenes.num_blocks={self.num_blocks}, sevenscenes.test_every={self.test_every},"
                f" sevenscenes.gap={self.gap}: give 2 <= test_every <= num_blocks, and a gap of 0 or more."
            )


class GradientLoss(Choice):
    """The second term of the loss."""

    correct = "correct"
    """Differences between neighbouring pixels, at several scales."""
    original = "original"
    """As in the released code, which slices the batch axis instead of rows: always zero."""


class HeadKind(Choice):
    """What is before the logits of the depth bins."""

    linear = "linear"
    """Nothing: a linear map of the tokens."""
    dpt = "dpt"
    """The trunk of DPT, on one to four blocks of the ViT: backbone.layer=[2,5,8,11]."""


@dataclass(kw_only=True, slots=True)
class HeadConfig:
    """Logits for depth bins, upsampled; the depth is the mean over bins."""

    kind: HeadKind = HeadKind.linear
    """linear or dpt (trained on top of several blocks)."""
    width: int = 64
    """Channels inside dpt."""
    num_bins: int = 256
    """Number of depth bins, evenly spaced."""
    min_depth: float = 0.001
    """Smallest depth in metres; smaller ones count as unknown."""
    max_depth: float = 10.0
    """Largest depth in metres; larger ones count as unknown."""
    upsampling: int = 4
    """Cells of the result per patch along each side: bilinear upsampling; dpt makes 4."""

    def __post_init__(self) -> None:
        if self.num_bins < 2 or self.upsampling < 1 or not 0 < self.min_depth < self.max_depth:
            raise ConfigError(
                f"head.num_bins={self.num_bins}, head.upsampling={self.upsampling}, head.min_depth={self.min_depth},"
                f" head.max_depth={self.max_depth}: give at least 2 bins, an upsampling of at least 1, and"
                " 0 < min_depth < max_depth."
            )
        check_range(self, "width", least=1, group="head.")
        if self.kind is HeadKind.dpt and self.upsampling != 4:
            raise ConfigError(f"head.upsampling={self.upsampling}, and head.kind=dpt makes 4 cells: leave it out.")


@dataclass(kw_only=True, slots=True)
class LossConfig:
    """Scale-invariant log loss and gradient loss."""

    mean_weight: float = 0.15
    """Weight of the squared mean of the log error beside its variance; 0 ignores the scale."""
    variance_from: int = 100
    """Step from which the variance counts."""
    gradient: GradientLoss = GradientLoss.correct
    """Which gradient loss: correct, or original (always zero)."""
    gradient_weight: float = 0.5
    """Weight of the gradient loss; 0: none."""
    gradient_scales: int = 4
    """Number of scales of the gradient loss: every pixel, every 2nd, 4th, 8th."""

    def __post_init__(self) -> None:
        check_range(self, "mean_weight", "variance_from", "gradient_weight", least=0, group="loss.")
        check_range(self, "gradient_scales", least=1, group="loss.")


@dataclass(kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW, half a cosine, linear warm-up, one cycle of momentum; defaults are the paper's."""

    num_steps: int = 38_400
    """Training steps."""
    batch_size: int = 16
    """Images per step."""
    learning_rate: float = 5e-3
    """Start of the cosine."""
    warmup_steps: int = 12_800
    """Warm-up: steps in which the learning rate rises to the cosine."""
    warmup_factor: float = 0.001
    """Factor of the cosine at the first step."""
    weight_decay: float = 0.01
    """Decoupled decay of AdamW."""
    clip_norm: float = 35.0
    """Largest gradient norm; larger gradients are scaled down."""
    momentum_high: float = 0.95
    """beta1 of AdamW at the first and last step."""
    momentum_low: float = 0.85
    """beta1 of AdamW at the turn."""
    momentum_turn: float = 0.3
    """Share of the steps after which beta1 rises again."""

    def __post_init__(self) -> None:
        check_range(self, "num_steps", "batch_size", least=1)
        check_range(self, "learning_rate", "clip_norm", above=0)
        check_range(self, "warmup_steps", "weight_decay", least=0)
        check_range(self, "warmup_factor", "momentum_high", "momentum_low", "momentum_turn", least=0, below=1)


def _quick_optimizer() -> OptimizerConfig:
    return OptimizerConfig(num_steps=400, batch_size=4, learning_rate=2e-2, warmup_steps=40)


@dataclass(kw_only=True, slots=True)
class PaperConfig:
    """Random crops, features on the fly, as in the DVT paper's evaluation."""

    train_size: Any = field(default_factory=lambda: [416, 544])
    """Height and width of a random crop; rounded up to the patch by resizing."""
    test_size: Any = field(default_factory=lambda: [480, 640])
    """Height and width of a test image; rounded up to the patch by resizing."""
    flip_test: bool = True
    """Average the predictions for the image and its mirror image."""
    rotation_degrees: float = 2.5
    """Largest rotation of a training image, in degrees."""
    rotation_share: float = 0.5
    """Share of training images that are rotated."""
    flip_share: float = 0.5
    """Share of training images that are mirrored."""
    colour_share: float = 0.5
    """Share of training images whose colours are changed."""
    gamma_range: float = 0.1
    """Range of gamma: 1 - x to 1 + x."""
    brightness_range: float = 0.25
    """Range of the brightness factor: 1 - x to 1 + x."""
    channel_range: float = 0.1
    """Range of the factors of red, green and blue: 1 - x to 1 + x."""
    num_workers: int = 4
    """Threads that read and augment training images during training."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Training of the head."""

    def __post_init__(self) -> None:
        check_range(self, "rotation_share", "flip_share", "colour_share", least=0, most=1, group="paper.")
        check_range(self, "gamma_range", "brightness_range", "channel_range", least=0, most=1, group="paper.")
        check_range(self, "num_workers", least=1, group="paper.")


@dataclass(kw_only=True, slots=True)
class LinearDepthConfig:
    """Linear depth on frozen features."""

    dataset: DepthDataset = DepthDataset.sevenscenes
    """sevenscenes or nyuv2."""
    protocol: DepthProtocol | None = None
    """quick or paper; default: quick on sevenscenes, paper on nyuv2."""
    layouts: list[Layout] = field(default_factory=lambda: [Layout.usual, Layout.crops])
    """How images are shown: usual, crops (position says nothing), upside_down (position misleads)."""
    num_train: int | None = None
    """Training images, evenly spaced over the list; default: at most 1000 with quick, all with paper."""
    num_test: int | None = None
    """Test images, evenly spaced over the list; default: all."""
    image_size: Any = None
    """Image size in pixels of quick, one number or [height,width]; aspects are not kept. Default: 224."""
    eigen_crop: bool | None = None
    """Score only rows 45 to 470 and columns 41 to 600 of 480 x 640 images; default: only on nyuv2."""
    seeds: int = 3
    """Heads to train; they differ in initialisation and image order."""
    head: HeadConfig = field(default_factory=HeadConfig)
    """The head."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The loss."""
    sevenscenes: SevenScenesConfig = field(default_factory=SevenScenesConfig)
    """The split of sevenscenes."""
    quick: OptimizerConfig = field(default_factory=_quick_optimizer)
    """Training of the head with protocol=quick."""
    paper: PaperConfig = field(default_factory=PaperConfig)
    """Numbers of protocol=paper."""

    def __post_init__(self) -> None:
        check_range(self, "seeds", "num_train", "num_test", least=1)
        check_each_once("layouts", self.layouts, Layout)
        if self.image_size is not None and self.chosen_protocol is DepthProtocol.paper:
            raise ConfigError(
                f"image_size={self.image_size} has no effect with protocol=paper: set paper.train_size and"
                " paper.test_size, or protocol=quick."
            )

    @property
    def chosen_protocol(self) -> DepthProtocol:
        """The given one, or that of the data set."""
        if self.protocol is not None:
            return self.protocol
        return DepthProtocol.quick if self.dataset is DepthDataset.sevenscenes else DepthProtocol.paper
