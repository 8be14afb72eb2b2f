"""How far a run over a list of images is."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """Where a run stands; handed to `on_progress` after every image."""

    total: int
    """Images of this part of the list."""
    skipped: int = 0
    """Already in the store, verified."""
    done: int = 0
    """Decomposed in this run."""
    failed: dict[str, str] = field(default_factory=dict)
    """Key and reason of the images that could not be done."""
    damaged: list[str] = field(default_factory=list)
    """Shards of the store that had been damaged and are made again, with the reason."""
    interrupted: bool = False
    """Whether the run was stopped before its end."""
    crash: str = ""
    """The error that ended the run, or a part of it, if one did."""
    seconds: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "extract": 0.0, "solve": 0.0})
    """Time spent so far, by what it was spent on; of several workers the sum."""

    @property
    def left(self) -> int:
        """Images that nothing is known of yet."""
        return self.total - self.skipped - self.done - len(self.failed)

    def add_seconds(self, seconds: Mapping[str, float]) -> None:
        """Add time that was spent elsewhere."""
        for part, spent_s in seconds.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + spent_s

    def add_part(self, part: "Progress") -> None:
        """Add what became of a part of these images; `total` counts them already."""
        self.skipped += part.skipped
        self.done += part.done
        self.failed |= part.failed
        self.damaged += [reason for reason in part.damaged if reason not in self.damaged]
        self.interrupted |= part.interrupted
        self.crash = "\n".join(filter(None, (self.crash, part.crash)))
        self.add_seconds(part.seconds)
