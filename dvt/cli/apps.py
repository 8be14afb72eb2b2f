"""Options of the verbs, as typed Hydra schemas. Light: imported to print help."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from dvt.backbone.config import BackboneConfig
from dvt.cluster.config import EngineConfig
from dvt.decomposition.config import DecomposeConfig
from dvt.denoiser.config import TrainConfig
from dvt.denoiser.online.config import StreamConfig
from dvt.distillation.config import DistillConfig
from dvt.export.config import ExportFormat
from dvt.srt.config import EnsembleConfig

MISSING = "???"
"""How OmegaConf marks an option that must be given."""


class StoreDtype(str, Enum):
    """Number format of a store."""

    float16 = "float16"
    """16 bits: half the disk, three significant digits."""
    float32 = "float32"
    """32 bits: as computed."""
    int8 = "int8"
    """8 bits between the smallest and the largest value of each channel of a map: half the disk of float16."""


class StoreMethodName(str, Enum):
    """What the clean features of a store are made by."""

    decomposed = "decomposed"
    """Stage 1: the field F of each image."""
    srt = "srt"
    """SRT: raw features averaged over shifts by less than a patch."""


class TeacherName(str, Enum):
    """What a distilled ViT learns from."""

    denoiser = "denoiser"
    """The ViT with its denoiser."""
    srt = "srt"
    """The ViT averaged over shifts by less than a patch."""


@dataclass(kw_only=True, slots=True)
class DecomposeApp(DecomposeConfig):
    """Options of `dvt decompose`."""

    images: Any = MISSING
    """An image, a folder, a glob such as 'photos/**/*.jpg', or a .txt list of paths."""
    store: str = MISSING
    """Folder that the features go to; the same command continues one that was begun."""
    method: StoreMethodName = StoreMethodName.decomposed
    """What the clean features are: decomposed, or srt (whose options are srt.*; quality and views do not count)."""
    srt: EnsembleConfig = field(default_factory=EnsembleConfig)
    """SRT, for method=srt."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The ViT."""
    seed: int = 0
    """Seed of the run; every image gets its own from this and its key."""
    shard: str = "0/1"
    """Do part i of n of the list, as i/n, counted from 0: several processes may share a store."""
    arrays: list[str] = field(default_factory=lambda: ["raw", "clean"])
    """Maps to store: some of raw, clean, artifact."""
    dtype: StoreDtype = StoreDtype.float16
    """Number format of the store: float16, float32 or int8 (half of float16)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    engine: EngineConfig = field(default_factory=EngineConfig)
    """Who decomposes: this process, workers of Ray, or jobs of SLURM."""
    max_pixels: int = 100_000_000
    """Larger pictures are refused as decompression bombs."""


@dataclass(kw_only=True, slots=True)
class StoreBackboneConfig:
    """The ViT that the features of a store come from. The store says all of it; what is given here has to agree."""

    name: str | None = None
    """Catalogue name of the ViT."""
    timm: str | None = None
    """Its timm name; used instead of name."""
    weights: str | None = None
    """Local weights file, where the ViT is run; left out: downloaded from the hub."""
    image_size: Any = None
    """Size in pixels of a view: one number, or [height,width]."""
    stride: int | None = None
    """Pixels between neighbouring patches."""
    layer: int | None = None
    """Block whose output was taken, counted from 0; -1 is the last."""
    norm: bool | None = None
    """Whether the ViT's final norm was applied."""
    precision: str = "fp32"
    """Number format of the forward pass, where the ViT is run: fp32, fp16 or bf16."""


@dataclass(kw_only=True, slots=True)
class TrainApp(TrainConfig):
    """Options of `dvt train`."""

    store: Any = None
    """Feature store that dvt decompose filled; several as [a,b]. Left out: images are decomposed on the way."""
    out: str = MISSING
    """Folder of the run, and of the finished denoiser; the same command continues one that was begun."""
    images: Any = None
    """Learn from these images only: a folder, glob or .txt list. Needed without a store, and where pairs.raw is not
    stored."""
    stream: StreamConfig = field(default_factory=StreamConfig)
    """How images are decomposed on the way, without a store."""
    backbone: StoreBackboneConfig = field(default_factory=StoreBackboneConfig)
    """The ViT, where it is not left to the store."""
    max_pixels: int = 100_000_000
    """Larger pictures are refused as decompression bombs."""


@dataclass(kw_only=True, slots=True)
class DistillApp(DistillConfig):
    """Options of `dvt distill`."""

    teacher: TeacherName = TeacherName.denoiser
    """What is learnt: denoiser (features of the ViT with denoiser=...) or srt (its features averaged over shifts)."""
    denoiser: str | None = None
    """Denoiser of the teacher: a folder that `dvt train` wrote, a file, or a released one such as voc_denoised."""
    srt: EnsembleConfig = field(default_factory=EnsembleConfig)
    """SRT, for teacher=srt."""
    images: Any = MISSING
    """An image folder, a glob such as 'photos/**/*.jpg', or a .txt list of paths."""
    out: str = MISSING
    """Folder of the run, and of the finished ViT; the same command continues one that was begun."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The ViT; its layer, norm and (when left out) image size are those of the denoiser, where there is one."""
    max_pixels: int = 100_000_000
    """Larger pictures are refused as decompression bombs."""


@dataclass(kw_only=True, slots=True)
class ExportApp:
    """Options of `dvt export`."""

    out: str = MISSING
    """What to write: a file that ends in .onnx or .pt2, or a folder (safetensors)."""
    denoiser: str | None = None
    """Denoiser behind the ViT: a folder that `dvt train` wrote, a file, or a released one such as voc_denoised; also a
    distilled ViT. Its layer and norm are taken."""
    format: ExportFormat = ExportFormat.auto
    """auto (by the name of out), onnx, torch_export or safetensors."""
    tolerance: float | None = None
    """Largest difference from PyTorch that is accepted; left out: 1e-3 for onnx, else 1e-4."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The ViT; its image_size is the one size that the exported model takes."""
