"""Results of runs: what a verb returns, what Hydra's launchers send back, and the summary of a sweep."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dvt.cli.console import CRASH, DONE, INTERRUPTED, USAGE, say


class Result(NamedTuple):
    """What the work of a verb returns."""

    metric: float = math.nan
    """The main metric; NaN where there is none."""
    code: int = DONE
    """The exit code."""


class JobOutcome(float):
    """Outcome of one run: its main metric, which is what sweepers optimise, with its exit code.

    Launchers such as joblib and submitit run jobs in other processes and send their outcomes back pickled. Unpickling
    records an outcome, so that exit codes arrive whichever launcher and sweeper are used.
    """

    code: int
    job: int
    overrides: tuple[str, ...]
    error: str

    def __new__(cls, metric: float, *, code: int, job: int, overrides: Iterable[str], error: str = "") -> "JobOutcome":
        """Build an outcome.

        Args:
            metric: the main metric.
            code: the exit code.
            job: number of the run in a sweep.
            overrides: options of the run as they were given.
            error: text of the error, for the command to print when the run was in another process.
        """
        outcome = super().__new__(cls, metric)
        outcome.code, outcome.job, outcome.overrides, outcome.error = code, job, tuple(overrides), error
        return outcome

    def __reduce__(self) -> tuple[Callable[..., "JobOutcome"], tuple[Any, ...]]:
        """Pickle as a call of `_unpickled`."""
        return _unpickled, (float(self), vars(self))


@dataclass
class Command:
    """One call of `dvt`, and the outcomes of its runs."""

    argv: list[str]
    """`sys.argv` as typed: Lightning starts further processes with it."""
    outcomes: dict[int, JobOutcome] = field(default_factory=dict)
    """By job."""
    crash: Exception | None = None
    """A fault of ours."""

    def summary(self, metric: str | None) -> list[str]:
        """A line for every run of a sweep: its options as far as they differ, and its metric."""
        outcomes = sorted(self.outcomes.values(), key=lambda outcome: outcome.job)
        if len(outcomes) < 2:
            return []
        same = set.intersection(*(set(outcome.overrides) for outcome in outcomes))
        lines = [f"sweep: {metric}" if metric else "sweep:"]
        for outcome in outcomes:
            given = " ".join(override for override in outcome.overrides if override not in same)
            value = f"{float(outcome):.4g}" if metric and math.isfinite(outcome) else ""
            failed = _FAILURES.get(outcome.code, "some failed")
            lines.append("   ".join(filter(None, (f"  {outcome.job}", given, value, failed))))
        return lines


_FAILURES = {DONE: "", CRASH: "crashed", USAGE: "not run", INTERRUPTED: "interrupted"}
_COMMANDS: list[Command] = []


@contextmanager
def running(command: Command) -> Iterator[None]:
    """Make a command the current one."""
    _COMMANDS.append(command)
    try:
        yield
    finally:
        _COMMANDS.pop()


def current_command() -> Command | None:
    """The command that runs; None in processes that a launcher started."""
    return _COMMANDS[-1] if _COMMANDS else None


def _unpickled(metric: float, attributes: dict[str, Any]) -> JobOutcome:
    """An outcome from another process."""
    outcome, command = JobOutcome(metric, **attributes), current_command()
    if command is not None and outcome.job not in command.outcomes:
        command.outcomes[outcome.job] = outcome
        if outcome.error:
            say(outcome.error)
    return outcome
