"""Checks of composed options, before the work of a verb begins."""

import math
import os
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dvt.cli.messages import unknown_option
from dvt.errors import ConfigError
from dvt.options import option_paths

_RANKS = {"RANK": "WORLD_SIZE", "LOCAL_RANK": "WORLD_SIZE", "SLURM_PROCID": "SLURM_NTASKS"}
"""Variables with the number of a process, and those with the number of processes, in Lightning's order."""


def checked_options(config: Any, verb: str, schema: type, *, may_lack: bool) -> Any:
    """The options as dataclasses.

    Args:
        config: what Hydra composed.
        verb: name of the verb, for the messages.
        schema: dataclass of its options.
        may_lack: whether required options may be missing; they get a placeholder.

    Raises:
        ConfigError: a required option is missing, an option does not exist, or a number is not finite.
    """
    if OmegaConf.get_type(config) is not schema:
        raise ConfigError(f"the config does not build on that of dvt {verb}: begin it with defaults: [{verb}, _self_].")
    missing = sorted(OmegaConf.missing_keys(config))
    if may_lack:
        for name in missing:
            OmegaConf.update(config, name, "given later")
    elif missing:
        wanted = " ".join(f"{name}=..." for name in missing)
        raise ConfigError(f"dvt {verb} needs {wanted}   (dvt {verb} --help explains them)")
    known = option_paths(schema)
    for name, value in _walk(config):
        if name not in known:  # added by `+name=value` or a config file
            raise ConfigError(unknown_option(name, verb, schema))
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{name}={value}: give a finite number.")
    return OmegaConf.to_object(config)


def check_launch(options: Any, choices: dict[str, str], mode: str, *, started_here: bool) -> None:
    """Refuse launchers and sweepers that would have no effect, or could not work.

    Args:
        options: options of the verb.
        choices: Hydra's choice for every config group.
        mode: RUN or MULTIRUN.
        started_here: whether this is the process of the command, not one that a launcher started.

    Raises:
        ConfigError: says why.
    """
    launcher, sweeper = choices["hydra/launcher"], choices["hydra/sweeper"]
    for kind, choice in (("launcher", launcher), ("sweeper", sweeper)):
        if choice != "basic" and "MULTIRUN" not in mode:
            raise ConfigError(f"hydra/{kind}={choice} has an effect in a sweep only: add -m.")
    trainer = getattr(options, "trainer", None)
    if trainer is None:
        return
    alone = trainer.devices in (1, "1") and trainer.num_nodes == 1
    _check_rank(alone=alone)
    if alone:
        return
    if (not started_here and launcher != "submitit_slurm") or sweeper != "basic":
        given = f"hydra/launcher={launcher}" if sweeper == "basic" else f"hydra/sweeper={sweeper}"
        raise ConfigError(
            f"trainer.devices={trainer.devices} with {given}: Lightning starts its processes by the command as typed,"
            " and each would begin a sweep of its own. Give trainer.devices=1."
        )


def _check_rank(*, alone: bool) -> None:
    """Refuse a process that would be silent and write nothing, because its number is not 0 and there is no other.

    Args:
        alone: whether the options ask for one process.

    Raises:
        ConfigError: names the variables that another launch has left in the environment.
    """
    for name, count in _RANKS.items():  # Lightning takes the first that is set
        if (rank := os.environ.get(name)) is None:
            continue
        number = int(os.environ.get(count) or 1) if (os.environ.get(count) or "1").isdigit() else 1
        if rank != "0" and (alone or number == 1):
            others = f" and {count}={os.environ[count]}" if count in os.environ else ""
            asked = "trainer.devices=1 asks for one process" if alone else f"{count} says that there is one process"
            raise ConfigError(
                f"{name}={rank}{others} in the environment: this would be process {rank} of several, which says nothing"
                f" and writes nothing, but {asked}. Remove what another launch has left: unset {name} {count}."
            )
        return


def _walk(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every option and group."""
    for name in map(str, config):
        value = config[name]
        yield f"{prefix}{name}", value
        if isinstance(value, DictConfig):
            yield from _walk(value, f"{prefix}{name}.")
