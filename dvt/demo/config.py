"""Options of the demo. A light module: it may be imported to print help."""

from dataclasses import dataclass

from dvt.errors import ConfigError


@dataclass(kw_only=True, slots=True)
class DemoConfig:
    """What the demo does, and how long it takes."""

    out: str = "demo"
    """Output folder; the same command resumes an interrupted demo."""
    num_views: int = 41
    """Views per image in stage 1, besides the full view."""
    num_steps: int = 300
    """Training steps of the denoiser."""
    num_frames: int = 24
    """Frames of the video; 0: no video."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""

    def __post_init__(self) -> None:
        for name, least in (("num_views", 2), ("num_steps", 1), ("num_frames", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)}: give at least {least}.")
