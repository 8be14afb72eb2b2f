"""Options of streaming. A light module: it is imported to print help."""

from dataclasses import dataclass

from dvt.errors import ConfigError


@dataclass(kw_only=True, slots=True)
class StreamConfig:
    """How stage 1 feeds stage 2 where there is no store."""

    quality: str = "fast"
    """Stage 1: fast, tiny, paper or reference, as in dvt decompose."""
    num_views: int | None = None
    """Random crops of each picture; left out: those of the quality."""
    buffer: int = 512
    """Pictures kept in memory, 4 H W C bytes each; of longer lists the oldest makes room for the next."""
    reuse: int = 16
    """The next picture of the list is decomposed whenever so many were drawn for steps."""
    val_images: int = 32
    """Pictures kept for validation at most; pairs.val_share may say fewer."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        for name in ("buffer", "reuse", "val_images"):
            if getattr(self, name) < 1:
                raise ConfigError(f"stream.{name}={getattr(self, name)}: give at least 1.")
