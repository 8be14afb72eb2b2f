"""What a task is: it scores one method at a time, and says how."""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a task."""

    name: str
    """What it is called in tables: mIoU, RMSE, J&F."""
    unit: str
    """%, m, or empty."""
    higher_is_better: bool | None
    """None where neither is: a diagnostic."""
    meaning: str
    """One sentence, with the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What a method reached in a task."""

    values: dict[str, tuple[float, ...]]
    """For every metric of the task, by name: one value per seed, or one where nothing is drawn. NaN where there is no
    value; a note says why."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers has to know: classes left out, pictures without objects."""
    details: dict[str, Any] = field(default_factory=dict)
    """More numbers for those who look closer (per class, per sequence), as plain JSON."""


@runtime_checkable
class Task(Protocol):
    """Scores features on labelled data, in the same way for every method."""

    @property
    def name(self) -> str:
        """Its name on the command line: linear_segmentation."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What it measures, the main one first."""

    @property
    def protocol(self) -> dict[str, Any]:
        """How it is measured, as plain JSON for the table: data set, split, number of pictures, sizes, steps, seeds."""

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Score a method.

        Args:
            method: makes the features.
            reporter: shows the progress.

        Raises:
            DvtError: the data cannot be read or do not fit.
        """
