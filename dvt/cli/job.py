"""The Hydra job of a verb: compose and check the options, run the work, return its main metric and exit code."""

import math
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from dvt.backbone.catalogue import CATALOGUE
from dvt.cli.arguments import prepare
from dvt.cli.console import CRASH, DONE, INTERRUPTED, USAGE, complain, say
from dvt.cli.messages import option_paths, unknown_option, usage_text
from dvt.decomposition.quality import config_folder
from dvt.errors import ConfigError


class JobOutcome(float):
    """Result of one run: its main metric, which is what sweepers optimise, and its exit code.

    Launchers such as joblib and submitit run jobs in other processes and bring their outcomes back pickled. Unpickling
    records an outcome, so that exit codes arrive whichever launcher and sweeper are used.
    """

    code: int
    complaint: str
    job: int
    overrides: tuple[str, ...]

    def __new__(
        cls,
        metric: float = math.nan,
        code: int = DONE,
        complaint: str = "",
        job: int = 0,
        overrides: Sequence[str] = (),
    ) -> "JobOutcome":
        """Build an outcome.

        Args:
            metric: the main metric; NaN where the run has none.
            code: the exit code.
            complaint: what the command has to print about a run in another process.
            job: number of the run in a sweep.
            overrides: options of the run as they were given.
        """
        outcome = super().__new__(cls, metric)
        outcome.code, outcome.complaint, outcome.job, outcome.overrides = code, complaint, job, tuple(overrides)
        return outcome

    def __reduce__(self) -> tuple[Callable[..., "JobOutcome"], tuple[Any, ...]]:
        """Pickle as a call of `_arrived`."""
        return _arrived, (float(self), self.code, self.complaint, self.job, self.overrides)


@dataclass
class _Command:
    """One call of `run_verb`."""

    argv: list[str]
    """`sys.argv` as typed: Lightning starts further processes with it."""
    outcomes: dict[int, JobOutcome] = field(default_factory=dict)
    """By job."""
    crash: Exception | None = None
    """A fault of ours."""


_COMMANDS: list[_Command] = []
"""The running call of `run_verb`; empty in processes that a launcher started."""


_QUIET = ("hydra.output_subdir=null", "hydra.run.dir=.", "hydra/job_logging=none", "hydra/hydra_logging=none")
"""Options with which Hydra writes nothing, whatever the root config."""


class _Stop(BaseException):
    """Leaves Hydra at once; no further job of the sweep runs."""


def _arrived(*parts: Any) -> JobOutcome:
    """An outcome from another process."""
    outcome = JobOutcome(*parts)
    if _COMMANDS and outcome.job not in _COMMANDS[-1].outcomes:
        _COMMANDS[-1].outcomes[outcome.job] = outcome
        if outcome.complaint:
            say(outcome.complaint)
    return outcome


def run_verb(verb: str, arguments: list[str]) -> int:
    """Run a verb as a Hydra application: once or, with `-m`, for every combination of a sweep.

    User-fixable errors are printed, and a sweep goes on with the next combination.

    Args:
        verb: name of the verb; `configs/<verb>.yaml` is its root, `dvt/cli/<verb>.py` its code.
        arguments: what stood behind the verb on the command line.

    Returns:
        The largest exit code of the runs.
    """
    module = import_module(f"dvt.cli.{verb}")
    command = _Command(argv=sys.argv)
    _COMMANDS.append(command)
    failure = DONE
    try:
        flags, options = prepare(verb, option_paths(module.Options), arguments, has_metric=module.METRIC is not None)
        where = [
            flag for name in ("--config-dir", "--config-name") if name in flags for flag in _with_value(flags, name)
        ]
        if {"--cfg", "--info", "--config-name"} & set(flags):  # Hydra prints configs without checking their values
            _hydra(Job(verb, only_checks=True), [*where, *options, *_QUIET])
        if max((outcome.code for outcome in command.outcomes.values()), default=DONE) == DONE:
            _hydra(Job(verb), [*flags, *options])
    except _Stop:
        pass
    except Exception as error:
        text = usage_text(error, verb, module.Options)
        if text is None:
            raise
        failure = complain(text)
    finally:
        _COMMANDS.pop()
    if command.crash is not None:
        raise command.crash
    _say_sweep(list(command.outcomes.values()), module.METRIC)
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
        from hydra.core.hydra_config import HydraConfig
        from omegaconf import OmegaConf

        module, hydra = import_module(f"dvt.cli.{self.verb}"), HydraConfig.get()
        number = 0 if OmegaConf.is_missing(hydra.job, "num") else int(hydra.job.num)
        command = _COMMANDS[-1] if _COMMANDS else None
        try:
            options = self._options(config, module.Options)
            choices = {name: str(choice) for name, choice in hydra.runtime.choices.items()}
            if not self.only_checks:
                _check_launch(options, choices, str(hydra.mode), started_here=command is not None)
            with _as_typed(command):
                outcome = JobOutcome() if self.only_checks else module.work(options, choices)
        except Exception as error:
            text = usage_text(error, self.verb, module.Options)
            if command is not None and text is None:
                command.crash = error
                raise _Stop from error
            complaint = f"dvt: {text}" if text is not None else traceback.format_exc()
            outcome = JobOutcome(code=CRASH if text is None else USAGE, complaint=complaint)
            if command is not None:
                say(complaint)
        outcome = JobOutcome(_metric(outcome, hydra), outcome.code, outcome.complaint, number, hydra.overrides.task)
        if command is not None:
            command.outcomes[number] = outcome
            if outcome.code == INTERRUPTED:
                raise _Stop
        return outcome

    def _options(self, config: Any, schema: type) -> Any:
        """The options as dataclasses.

        Raises:
            ConfigError: a required option is missing, an option does not exist, or a number is not finite.
        """
        from omegaconf import OmegaConf

        if OmegaConf.get_type(config) is not schema:
            raise ConfigError(
                f"the config does not build on that of dvt {self.verb}: begin it with defaults: [{self.verb}, _self_]."
            )
        missing = sorted(OmegaConf.missing_keys(config))
        if missing and not self.only_checks:
            wanted = " ".join(f"{name}=..." for name in missing)
            raise ConfigError(f"dvt {self.verb} needs {wanted}   (dvt {self.verb} --help explains them)")
        for name in missing:
            OmegaConf.update(config, name, "given later")
        for name in _added(config, schema):
            raise ConfigError(unknown_option(name, self.verb, schema))
        for name, value in _numbers(config):
            if not math.isfinite(value):
                raise ConfigError(f"{name}={value}: give a finite number.")
        return OmegaConf.to_object(config)


def register(verb: str, schema: type, user_configs: Path | None = None) -> None:
    """Make the options of a verb, the named backbones and the verb's own config groups known to Hydra.

    Args:
        verb: name of the verb.
        schema: dataclass of its options.
        user_configs: folder of `--config-dir`; a backbone described there replaces that of the catalogue.
    """
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    from dvt.cli.search_path import VerbFolder

    store = ConfigStore.instance()
    store.store(name=f"{verb}_schema", node=schema)
    for name in CATALOGUE:
        if user_configs is None or not (user_configs / "backbone" / f"{name}.yaml").exists():
            store.store(group="backbone", name=name, node={"name": name})
    VerbFolder.folder = config_folder() / verb
    Plugins.instance().register(VerbFolder)


def _hydra(job: Job, arguments: list[str]) -> None:
    """Let Hydra compose and run."""
    import hydra

    folder = _with_value(arguments, "--config-dir")[1:]
    register(job.verb, import_module(f"dvt.cli.{job.verb}").Options, Path(folder[0]) if folder else None)
    sweep_dir = Path("dvt_sweeps", f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{os.getpid()}")
    try:
        with _environment(HYDRA_FULL_ERROR="1", DVT_SWEEP_DIR=str(sweep_dir)), _argv([f"dvt {job.verb}", *arguments]):
            hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=job.verb)(job)()
    finally:
        if list(sweep_dir.glob(".submitit/*")):
            say(f"logs of the jobs: {sweep_dir / '.submitit'}")
        else:
            shutil.rmtree(sweep_dir, ignore_errors=True)
            with suppress(OSError):
                sweep_dir.parent.rmdir()


def _with_value(flags: list[str], name: str) -> list[str]:
    """A flag and its value; empty where it is not given."""
    return flags[(place := flags.index(name)) : place + 2] if name in flags else []


@contextmanager
def _argv(argv: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, argv
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Environment variables for Hydra: without HYDRA_FULL_ERROR it ends the process on an error."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _as_typed(command: _Command | None) -> Iterator[None]:
    """Run the work as if Hydra were not there: Lightning starts the other processes of DDP by the command as typed.

    Lightning would add options of Hydra's to the command if it found HydraConfig set.
    """
    from hydra.core.hydra_config import HydraConfig

    instance = HydraConfig.instance()
    before, instance.cfg = instance.cfg, None
    try:
        with _argv(command.argv if command is not None else sys.argv):
            yield
    finally:
        instance.cfg = before


def _check_launch(options: Any, choices: dict[str, str], mode: str, *, started_here: bool) -> None:
    """Refuse launchers and sweepers that would have no effect, or could not work.

    Raises:
        ConfigError: says why.
    """
    launcher, sweeper = choices["hydra/launcher"], choices["hydra/sweeper"]
    for kind, choice in (("launcher", launcher), ("sweeper", sweeper)):
        if choice != "basic" and "MULTIRUN" not in mode:
            raise ConfigError(f"hydra/{kind}={choice} has an effect in a sweep only: add -m.")
    trainer = getattr(options, "trainer", None)
    if trainer is None or (trainer.devices in (1, "1") and trainer.num_nodes == 1):
        return
    if (not started_here and launcher != "submitit_slurm") or sweeper != "basic":
        given = f"hydra/launcher={launcher}" if sweeper == "basic" else f"hydra/sweeper={sweeper}"
        raise ConfigError(
            f"trainer.devices={trainer.devices} with {given}: Lightning starts its processes by the command as typed,"
            " and each would begin a sweep of its own. Give trainer.devices=1."
        )


def _metric(outcome: JobOutcome, hydra: Any) -> float:
    """The metric; of a run that failed, the worst there is where a sweeper optimises it."""
    if hydra.runtime.choices["hydra/sweeper"] == "basic" or not (math.isnan(outcome) or outcome.code in (CRASH, USAGE)):
        return float(outcome)
    return -math.inf if "max" in str(hydra.sweeper.get("direction", "")).lower() else math.inf


def _say_sweep(outcomes: list[JobOutcome], metric: str | None) -> None:
    """A line for every run of a sweep: its options as far as they differ, and its metric."""
    if len(outcomes) < 2:
        return
    same = set.intersection(*(set(outcome.overrides) for outcome in outcomes))
    say(f"sweep: {metric}" if metric else "sweep:")
    for outcome in sorted(outcomes, key=lambda outcome: outcome.job):
        given = " ".join(override for override in outcome.overrides if override not in same)
        failed = {DONE: "", CRASH: "crashed", USAGE: "not run", INTERRUPTED: "interrupted"}.get(
            outcome.code, "some failed"
        )
        value = f"{float(outcome):.4g}" if metric is not None and math.isfinite(outcome) else ""
        say("   ".join(filter(None, (f"  {outcome.job}", given, value, failed))))


def _numbers(config: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """All floats among the options, by dotted name."""
    from omegaconf import DictConfig

    for name in config:
        value = config[name]
        if isinstance(value, DictConfig):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            yield f"{prefix}{name}", value


def _added(config: Any, schema: type, prefix: str = "") -> Iterator[str]:
    """Names that `+name=value` or a config file added and the schema does not have."""
    groups = {entry.name: getattr(schema(), entry.name) for entry in fields(schema)}
    for name in config:
        if name not in groups:
            yield f"{prefix}{name}"
        elif is_dataclass(groups[name]):
            yield from _added(config[name], type(groups[name]), f"{prefix}{name}.")
