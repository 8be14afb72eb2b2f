"""From `key=value` arguments to dataclasses, by Hydra."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dvt.decomposition.quality import config_folder

PATH_OPTIONS = ("images", "image", "store", "out", "backbone.weights")
"""Options that take paths; what they name on disk needs no quotes for Hydra's grammar."""


def run_verb(verb: str, schema: type, arguments: list[str], task: Callable[[Any, dict[str, str]], int]) -> int:
    """Compose the options of a verb and run it, once or, with `-m`, for every combination.

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
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig, OmegaConf

    ConfigStore.instance().store(name=f"{verb}_schema", node=schema)
    codes = [0]

    def run(config: DictConfig) -> None:
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise missing_options(verb, missing)
        choices = {name: str(choice) for name, choice in HydraConfig.get().runtime.choices.items()}
        codes.append(task(OmegaConf.to_object(config), choices))

    # Let exceptions through: dvt.cli.messages turns them into text, Hydra would end the process with code 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    before, sys.argv = sys.argv, [f"dvt {verb}", *(quote_path(argument) for argument in arguments)]
    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=verb)(run)()
    finally:
        sys.argv = before
    return max(codes)


def missing_options(verb: str, names: list[str]) -> Exception:
    """The error for required options that were not given."""
    from dvt.errors import ConfigError

    wanted = " ".join(f"{name}=..." for name in names)
    return ConfigError(f"dvt {verb} needs {wanted}   (dvt {verb} --help tells what they take)")


def quote_path(argument: str) -> str:
    """Quote `key=path` where the path exists: a comma, blank or bracket in it means nothing else then."""
    key, equals, value = argument.partition("=")
    if not equals or key not in PATH_OPTIONS or value[:1] in "'\"[" or not value:
        return argument
    if not Path(value).expanduser().exists() or all(char.isalnum() or char in "/._-" for char in value):
        return argument
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"
