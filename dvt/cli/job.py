"""The Hydra job of a verb: compose and check the options, run the work, return its main metric and exit code."""

import math
import sys
import traceback
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from dvt.cli.arguments import prepare
from dvt.cli.console import CRASH, DONE, INTERRUPTED, USAGE, complain, say
from dvt.cli.hydra_app import run_application, value_of, without_hydra
from dvt.cli.messages import usage_text
from dvt.cli.option_checks import check_launch, checked_options
from dvt.cli.outcome import Command, JobOutcome, Result, current_command, running

_QUIET = ("hydra.output_subdir=null", "hydra.run.dir=.", "hydra/job_logging=none", "hydra/hydra_logging=none")
"""Options with which Hydra writes nothing, whatever the root config."""


class _Stop(BaseException):
    """Leaves Hydra at once; no further job of the sweep runs."""


def run_verb(verb: str, arguments: list[str]) -> int:
    """Run a verb as a Hydra application: once or, with `-m`, for every combination of a sweep.

    User-fixable errors are printed, and a sweep goes on with the next combination.

    Args:
        verb: name of the verb; `configs/<verb>.yaml` is its root, `dvt/cli/<verb>.py` its code.
        arguments: the arguments after the verb.

    Returns:
        The largest exit code of the runs.
    """
    module = import_module(f"dvt.cli.{verb}")
    schema, command, failure = module.Options, Command(argv=sys.argv), DONE
    try:
        with running(command):
            flags, options = prepare(verb, schema, arguments, has_metric=module.METRIC is not None)
            if {"--cfg", "--info", "--config-name"} & set(flags):
                # Hydra prints configs unchecked. With a root config that does not build on ours it also writes logs.
                places = [(name, value_of(flags, name)) for name in ("--config-dir", "--config-name")]
                where = [part for name, value in places if value is not None for part in (name, value)]
                run_application(verb, schema, Job(verb, only_checks=True), [*where, *options, *_QUIET])
            if all(outcome.code == DONE for outcome in command.outcomes.values()):
                run_application(verb, schema, Job(verb), [*flags, *options])
    except _Stop:
        pass
    except Exception as error:
        text = usage_text(error, verb, schema)
        if text is None:
            raise
        failure = complain(text)
    if command.crash is not None:
        raise command.crash
    for line in command.summary(module.METRIC):
        say(line)
    return max([failure, *(outcome.code for outcome in command.outcomes.values())])


@dataclass(frozen=True)
class Job:
    """The task function of Hydra. A class at module level: launchers pickle it by name."""

    verb: str
    """Name of the verb."""
    only_checks: bool = False
    """Check the options, do nothing; required options may be missing."""

    def __call__(self, config: Any) -> JobOutcome:
        """Run the work of the verb with composed options; returns its outcome."""
        module, hydra, command = import_module(f"dvt.cli.{self.verb}"), HydraConfig.get(), current_command()
        choices = {name: str(choice) for name, choice in hydra.runtime.choices.items()}
        message = ""
        try:
            options = checked_options(config, self.verb, module.Options, may_lack=self.only_checks)
            if self.only_checks:
                result = Result()
            else:
                check_launch(options, choices, str(hydra.mode), started_here=command is not None)
                with without_hydra(sys.argv if command is None else command.argv):
                    result = module.work(options, choices)
        except Exception as error:
            text = usage_text(error, self.verb, module.Options)
            if command is not None and text is None:
                command.crash = error
                raise _Stop from error
            message = f"dvt: {text}" if text is not None else traceback.format_exc()
            result = Result(code=CRASH if text is None else USAGE)
            if command is not None:
                say(message)
        metric, failed = result.metric, result.code in (CRASH, USAGE)
        if choices["hydra/sweeper"] != "basic" and (failed or math.isnan(metric)):  # the worst there is
            metric = -math.inf if "max" in str(hydra.sweeper.get("direction", "")).lower() else math.inf
        number = 0 if OmegaConf.is_missing(hydra.job, "num") else int(hydra.job.num)
        outcome = JobOutcome(metric, code=result.code, job=number, overrides=hydra.overrides.task, error=message)
        if command is not None:
            command.outcomes[number] = outcome
            if outcome.code == INTERRUPTED:
                raise _Stop
        return outcome
