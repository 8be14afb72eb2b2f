"""Options of linear depth. A light module: it may be imported to print help."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from dvt.errors import ConfigError
from dvt.evaluation.config.depth_head import HeadConfig, LossConfig, OptimizerConfig
from dvt.evaluation.config.layout import Layout


class DepthDataset(str, Enum):
    """Where pictures and depths come from."""

    sevenscenes = "sevenscenes"
    """7-Scenes: one room, as a flat folder of frames or as seq-XX folders."""
    nyuv2 = "nyuv2"
    """NYU Depth v2 with the lists nyu_train.txt and nyu_test.txt."""

    def __str__(self) -> str:
        return self.value


class DepthProtocol(str, Enum):
    """How the head is trained and tested."""

    quick = "quick"
    """Small squashed pictures, features kept in memory, a few hundred steps."""
    paper = "paper"
    """The protocol of the DVT paper: large random crops, features on the fly, 38,400 steps."""

    def __str__(self) -> str:
        return self.value


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


def _quick_optimizer() -> OptimizerConfig:
    return OptimizerConfig(num_steps=400, batch_size=4, learning_rate=2e-2, warmup_steps=40)


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
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """How the head is trained."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        for name in (
            "rotation_share",
            "flip_share",
            "colour_share",
            "gamma_range",
            "brightness_range",
            "channel_range",
        ):
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
    layouts: list[Layout] = field(default_factory=lambda: [Layout.usual, Layout.crops])
    """How pictures are shown: usual, crops (position says nothing), upside_down (position misleads)."""
    num_train: int | None = None
    """Training pictures, evenly spaced over the list; left out: at most 1000 with quick, all with paper."""
    num_test: int | None = None
    """Test pictures, evenly spaced over the list; left out: all."""
    image_size: Any = None
    """Size in pixels that quick squashes pictures to, one number or [height,width]; left out: 224."""
    eigen_crop: bool | None = None
    """Score only rows 45 to 470 and columns 41 to 600 of 480 x 640 pictures; left out: on nyuv2 alone."""
    seeds: int = 3
    """Runs that differ in the first weights of the head and in the order of the pictures."""
    head: HeadConfig = field(default_factory=HeadConfig)
    """The head."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The loss."""
    sevenscenes: SevenScenesConfig = field(default_factory=SevenScenesConfig)
    """The split of sevenscenes."""
    quick: OptimizerConfig = field(default_factory=_quick_optimizer)
    """How the head is trained in the quick protocol."""
    paper: PaperConfig = field(default_factory=PaperConfig)
    """Numbers of the paper's protocol."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        for name in ("seeds", "num_train", "num_test"):
            value = getattr(self, name)
            if value is not None and not value >= 1:
                raise ConfigError(f"{name}={value}: give at least 1.")
        if not self.layouts or len(set(self.layouts)) < len(self.layouts):
            given = ",".join(map(str, self.layouts))
            raise ConfigError(f"layouts=[{given}]: give at least one of {', '.join(map(str, Layout))}, and each once.")
        if self.image_size is not None and self.chosen_protocol is DepthProtocol.paper:
            raise ConfigError(
                f"image_size={self.image_size} has no effect with protocol=paper: set paper.train_size and"
                " paper.test_size, or protocol=quick."
            )

    @property
    def chosen_protocol(self) -> DepthProtocol:
        """The one that was given, or that goes with the data set."""
        if self.protocol is not None:
            return self.protocol
        return DepthProtocol.quick if self.dataset is DepthDataset.sevenscenes else DepthProtocol.paper
