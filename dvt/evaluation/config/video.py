"""Options of video segmentation. A light module: imported to print help."""

from dataclasses import dataclass, field
from typing import Any

from dvt.errors import ConfigError
from dvt.options import check_range


@dataclass(kw_only=True, slots=True)
class VideoSegmentationConfig:
    """Label propagation from the first frame (DINO's protocol on DAVIS)."""

    image_size: Any = None
    """Short side of frames in pixels, or [height,width]; sides are rounded down to the patch. Left out: 240. The
    published protocol has 480."""
    sequences: list[str] = field(default_factory=list)
    """Names of the sequences; left out: those of the validation list, or all where there is no list."""
    max_frames: int | None = None
    """Frames per sequence at most, from the first; left out: all."""
    previous_frames: int = 7
    """Frames before the current one that labels come from, beside the first frame."""
    neighbourhood: int = 12
    """Labels come from patches up to this many rows and columns away."""
    top_k: int = 5
    """Labels come from this many most similar patches of all these frames together."""
    temperature: float = 0.1
    """They are weighted by the softmax of their cosine similarity over this."""

    def __post_init__(self) -> None:
        if self.max_frames is not None and self.max_frames < 3:
            raise ConfigError(
                f"max_frames={self.max_frames}: give at least 3; the first and the last frame are not scored."
            )
        check_range(self, "previous_frames", "neighbourhood", least=0)
        check_range(self, "top_k", least=1)
        check_range(self, "temperature", above=0)
        if len(set(self.sequences)) < len(self.sequences):
            raise ConfigError(f"sequences=[{','.join(self.sequences)}]: give each once.")
