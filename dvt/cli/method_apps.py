"""Options of the verbs that put methods side by side, as typed Hydra schemas. Light: imported to print help."""

from dataclasses import dataclass, field

from dvt.backbone.config import BackboneConfig
from dvt.cli.apps import MISSING
from dvt.decomposition.config import DecomposeConfig
from dvt.errors import ConfigError
from dvt.srt.config import EnsembleConfig


@dataclass(kw_only=True, slots=True)
class MethodsApp(DecomposeConfig):
    """Options that `dvt show` and `dvt evaluate` have in common."""

    method: list[str] = field(default_factory=lambda: ["raw", "decomposed"])
    """Features side by side: raw, srt, decomposed, denoised, distilled; raw@2x looks at twice the image size, tiles at
    2 x 2 parts of the picture (tiles@3x, srt-tiles): how much of a gain is zoom alone."""
    denoiser: str | None = None
    """For denoised: a folder that dvt train wrote, a file, or the name of a released one."""
    distilled: str | None = None
    """For distilled: a folder that dvt distill wrote, a file, or the name of a released one."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The ViT."""
    srt: EnsembleConfig = field(default_factory=EnsembleConfig)
    """Sub-token shifts, for srt."""
    seed: int = 0
    """Seed of the views, for decomposed."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""


@dataclass(kw_only=True, slots=True)
class ShowApp(MethodsApp):
    """Options of `dvt show`."""

    image: str = MISSING
    """An image; a folder or glob of images; a video (.mp4, .mov, .mkv, .webm, .gif)."""
    out: str | None = None
    """The .png to write; for several images a folder, or a .mp4 or .gif; <image>.dvt.png (.mp4 for a video) in the
    working directory when left out."""
    patch: list[int] | None = None
    """Row and column of the patch that similarities are taken to; the centre when left out."""
    max_frames: int | None = None
    """Of a video at most so many frames, from the first; null for all."""
    every: int = 1
    """Of a video every n-th frame."""
    fps: float | None = None
    """Frames per second of the video written; that of the video read, or 10, when left out."""
    max_pixels: int = 100_000_000
    """Larger pictures are refused as decompression bombs."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        MethodsApp.__post_init__(self)
        if self.every < 1 or (self.max_frames is not None and self.max_frames < 1):
            raise ConfigError(f"every={self.every}, max_frames={self.max_frames}: give 1 or more.")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ConfigError(f"fps={self.fps}: give more than 0 and at most 1000 frames per second.")
