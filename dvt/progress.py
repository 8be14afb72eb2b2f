"""Reporter: how long work shows its progress. The command line has one with a bar; `SILENT` shows nothing."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Reporter(Protocol):
    """Receives the progress of one piece of work after another."""

    def start(self, total: int, unit: str, task: str = "") -> None:
        """A piece of work begins; the one before it is over.

        Args:
            total: how many units it has.
            unit: what is counted, in the plural: images, steps.
            task: what is done, in a word or two: features, train.
        """

    def advance(self, count: int = 1, note: str = "") -> None:
        """Units are done.

        Args:
            count: how many since the last call.
            note: the current state in a few words, such as the loss.
        """

    def note(self, text: str) -> None:
        """A line for the user that stays on the screen."""

    def done(self) -> None:
        """All work is over."""


class SilentReporter:
    """Shows nothing."""

    def start(self, total: int, unit: str, task: str = "") -> None:
        """Ignore."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def done(self) -> None:
        """Ignore."""


SILENT = SilentReporter()
"""The default reporter of every function that takes one."""
