"""Task: scores one method at a time, on the same data in the same way."""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a task."""

    name: str
    """Name in tables: mIoU, RMSE, J&F."""
    unit: str
    """%, m, or empty."""
    higher_is_better: bool | None
    """None for a diagnostic, where neither is better."""
    meaning: str
    """One sentence, with the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The scores of a method in a task."""

    values: dict[str, tuple[float, ...]]
    """Every metric of the task by name: one value per seed, or one value where nothing is random. NaN where there is no
    value; a note says why."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers must know: classes left out, images without objects."""
    details: dict[str, Any] = field(default_factory=dict)
    """More numbers (per class, per sequence), as plain JSON."""


@runtime_checkable
class Task(Protocol):
    """Scores features on data, in the same way for every method."""

    @property
    def name(self) -> str:
        """Name on the command line: linear_segmentation."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What it measures, the main metric first."""

    @property
    def protocol(self) -> dict[str, Any]:
        """How it measures, as plain JSON: data set, split, number of images, sizes, steps, seeds."""

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Score a method.

        Args:
            method: makes the features.
            reporter: shows the progress.

        Raises:
            DvtError: the data cannot be read or do not fit.
        """
