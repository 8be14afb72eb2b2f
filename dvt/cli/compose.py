"""From `key=value` arguments to dataclasses, by Hydra."""

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from dvt.cli.arguments import prepare
from dvt.cli.console import DONE, INTERRUPTED, complain
from dvt.cli.messages import option_paths, unknown_option, usage_text
from dvt.decomposition.quality import config_folder
from dvt.errors import ConfigError


def run_verb(verb: str, schema: type, arguments: list[str], task: Callable[[Any, dict[str, str]], int]) -> int:
    """Compose the options of a verb and run it, once or, with `-m`, for every combination.

    An error that the user can mend is said, and a sweep goes on with the next combination.

    Args:
        verb: name of the verb; `configs/<verb>.yaml` is its root.
        schema: dataclass of its options.
        arguments: what stood behind the verb on the command line.
        task: does the work; given the options as dataclasses and the chosen option of every group. Returns the exit
            code.

    Returns:
        The largest exit code of the runs.
    """
    import hydra
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name=f"{verb}_schema", node=schema)
    runs: list[tuple[Any, dict[str, str]]] = []
    errors: list[Exception] = []

    def job(config: Any) -> None:
        try:
            runs.append(_typed(config, verb, schema))
        except Exception as error:  # kept from Hydra, which would print lines of its own
            errors.append(error)

    try:
        with _for_hydra([f"dvt {verb}", *prepare(verb, option_paths(schema), arguments)]):
            hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=verb)(job)()
    except Exception as error:
        errors.append(error)
    codes = [DONE, *(_complain(error, verb, schema) for error in errors)]
    # The work begins when Hydra is gone: processes that Lightning starts run the command as it was typed.
    for options, choices in runs:
        if INTERRUPTED in codes:  # the rest of a sweep
            break
        try:
            codes.append(task(options, choices))
        except Exception as error:
            codes.append(_complain(error, verb, schema))
    return max(codes)


def _complain(error: Exception, verb: str, schema: type) -> int:
    """Say an error that the user can mend, and return the exit code; another one is raised."""
    text = usage_text(error, verb, schema)
    if text is None:
        raise error
    return complain(text)


@contextmanager
def _for_hydra(argv: list[str]) -> Iterator[None]:
    """Its way of being called: `sys.argv`, and a variable without which it ends the process on an error."""
    argv_before, full_error_before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = argv_before
        del os.environ["HYDRA_FULL_ERROR"]
        if full_error_before is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error_before


def _typed(config: Any, verb: str, schema: type) -> tuple[Any, dict[str, str]]:
    """The options of one run as dataclasses, and the chosen option of every group.

    Raises:
        ConfigError: a required option was not given, one was added that does not exist, or a number is not finite.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        wanted = " ".join(f"{name}=..." for name in missing)
        raise ConfigError(f"dvt {verb} needs {wanted}   (dvt {verb} --help tells what they take)")
    for name in _added(config, schema):
        raise ConfigError(unknown_option(name, verb, schema))
    for name, value in _numbers(config):
        if not math.isfinite(value):
            raise ConfigError(f"{name}={value}: give a finite number.")
    choices = {name: str(choice) for name, choice in HydraConfig.get().runtime.choices.items()}
    return OmegaConf.to_object(config), choices


def _numbers(config: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """All fractions among the options, by their dotted names."""
    from omegaconf import DictConfig

    for name in config:
        value = config[name]
        if isinstance(value, DictConfig):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            yield f"{prefix}{name}", value


def _added(config: Any, schema: type, prefix: str = "") -> Iterator[str]:
    """Names that `+name=value` brought in and the schema does not know."""
    groups = {entry.name: getattr(schema(), entry.name) for entry in fields(schema)}
    for name in config:
        if name not in groups:
            yield f"{prefix}{name}"
        elif is_dataclass(groups[name]):
            yield from _added(config[name], type(groups[name]), f"{prefix}{name}.")
