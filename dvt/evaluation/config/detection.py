"""Options of the task detection. A light module: imported to print help."""

from dataclasses import dataclass, field
from typing import Any

from dvt.errors import ConfigError
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.config.objects import DataFormat
from dvt.options import check_each_once, check_range


@dataclass(kw_only=True, slots=True)
class DetectorConfig:
    """Size of the detector that is trained on frozen features."""

    channels: int = 128
    """Channels of the feature pyramid; 256 in ViTDet and in the DVT paper."""
    rpn_convs: int = 1
    """Convolutions of the head that proposes boxes; 2 in ViTDet."""
    box_convs: int = 0
    """Convolutions of the head that classifies and moves boxes, before its hidden layer; 4 in ViTDet."""
    hidden: int = 512
    """Units of the hidden layer of that head; 1024 in ViTDet."""
    proposals: int = 200
    """Proposals per image that pass to that head; 1000 in ViTDet, 2000 in training."""
    boxes_per_image: int = 128
    """Proposals per training image that have a loss; 512 in ViTDet."""

    def __post_init__(self) -> None:
        sizes = ("channels", "rpn_convs", "hidden", "proposals", "boxes_per_image")
        check_range(self, *sizes, least=1, group="detector.")
        check_range(self, "box_convs", least=0, group="detector.")


@dataclass(kw_only=True, slots=True)
class DetectionConfig:
    """Detection on frozen features."""

    format: DataFormat | None = None
    """Layout of the data: voc or davis; left out: detected."""
    train_split: str = "trainval"
    """voc only: the list of training images in ImageSets/Main, without .txt."""
    test_split: str = "test"
    """voc only: the list of test images."""
    resolution: str = "480p"
    """davis only: the folder between JPEGImages or Annotations and the sequences."""
    sequences: list[str] = field(default_factory=list)
    """davis only: names of sequences; [] takes all."""
    test_sequences: list[str] = field(default_factory=list)
    """davis only: the sequences to test on, the others are for training; [] takes every third one."""
    every: int = 10
    """davis only: use every n-th frame of a sequence, from the first."""
    layouts: list[Layout] = field(default_factory=lambda: [Layout.usual])
    """How test images are shown: usual, upside_down (what was learned about position misleads)."""
    num_train: int | None = None
    """Training images, evenly spaced over the list; left out: all."""
    num_test: int | None = None
    """Test images, evenly spaced over the list; left out: all."""
    image_size: Any = 224
    """Image size in pixels, one number or [height,width]; aspects are not kept."""
    mirrored: bool = False
    """Train on mirror images too; their features are computed as well, which doubles the passes of training images."""
    num_steps: int = 1000
    """Steps of training."""
    batch_size: int = 4
    """Images per step."""
    learning_rate: float = 3e-4
    """Highest learning rate of AdamW: a linear rise, then a cosine to 0."""
    warmup_steps: int = 100
    """Steps of the rise."""
    weight_decay: float = 0.1
    """Weight decay of AdamW."""
    seeds: int = 3
    """Detectors to train; they differ in initialisation, image order and sampled boxes."""
    feature_memory_gb: float = 8.0
    """Training features are kept in memory up to this size, else computed again in every step."""
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    """Size of the detector."""

    def __post_init__(self) -> None:
        check_range(self, "every", "num_train", "num_test", "num_steps", "batch_size", "seeds", least=1)
        check_range(self, "learning_rate", above=0)
        check_range(self, "warmup_steps", "weight_decay", "feature_memory_gb", least=0)
        check_each_once("layouts", self.layouts, Layout)
        if Layout.crops in self.layouts:
            raise ConfigError("layouts=[crops]: detection has no crops, as they cut boxes. Give usual or upside_down.")
        if self.format is DataFormat.folders:
            raise ConfigError("format=folders: detection takes voc (boxes) or davis (masks of videos).")
