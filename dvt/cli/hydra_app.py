"""Hydra as the command uses it: config sources, the start of an application, work that does not see Hydra."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from dvt.backbone.catalogue import CATALOGUE
from dvt.cli.console import say
from dvt.decomposition.quality import config_folder


class VerbFolder(SearchPathPlugin):
    """Adds `configs/<verb>/` to Hydra's search path: groups of one verb, such as `experiment` and `debug`."""

    folder: ClassVar[Path | None] = None
    """The folder of the verb that runs; it need not exist."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder."""
        if self.folder is not None and self.folder.is_dir():
            search_path.append("dvt", f"file://{self.folder}")


def register(verb: str, schema: type, user_configs: Path | None = None) -> None:
    """Make the options of a verb, the named backbones and the verb's own config groups known to Hydra.

    Args:
        verb: name of the verb.
        schema: dataclass of its options.
        user_configs: folder of `--config-dir`; a backbone described there replaces that of the catalogue.
    """
    store = ConfigStore.instance()
    store.store(name=f"{verb}_schema", node=schema)
    for name in CATALOGUE:
        if user_configs is None or not (user_configs / "backbone" / f"{name}.yaml").exists():
            store.store(group="backbone", name=name, node={"name": name})
    VerbFolder.folder = config_folder() / verb
    Plugins.instance().register(VerbFolder)


def run_application(verb: str, schema: type, job: Callable[[Any], Any], arguments: list[str]) -> None:
    """Compose the config of a verb and call the job with it, once or for every run of a sweep.

    Args:
        verb: name of the verb; `configs/<verb>.yaml` is its root config.
        schema: dataclass of its options.
        job: Hydra's task function.
        arguments: flags and overrides of Hydra.
    """
    folder = value_of(arguments, "--config-dir")
    register(verb, schema, None if folder is None else Path(folder))
    sweep_dir = Path("dvt_sweeps", f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{os.getpid()}")
    try:
        # without HYDRA_FULL_ERROR Hydra ends the process on an error
        with _environment(HYDRA_FULL_ERROR="1", DVT_SWEEP_DIR=str(sweep_dir)), _argv([f"dvt {verb}", *arguments]):
            hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=verb)(job)()
    finally:
        if list(sweep_dir.glob(".submitit/*")):
            say(f"logs of the jobs: {sweep_dir / '.submitit'}")
        else:
            shutil.rmtree(sweep_dir, ignore_errors=True)
            with suppress(OSError):
                sweep_dir.parent.rmdir()


def value_of(flags: list[str], name: str) -> str | None:
    """The value after a flag; None where the flag is not given."""
    return flags[flags.index(name) + 1] if name in flags else None


@contextmanager
def without_hydra(argv: list[str]) -> Iterator[None]:
    """Run a block as if Hydra were not there, with the command as typed.

    Lightning starts the other processes of DDP with that command. It would add options of Hydra's if it found
    HydraConfig set.
    """
    instance = HydraConfig.instance()
    before, instance.cfg = instance.cfg, None
    try:
        with _argv(argv):
            yield
    finally:
        instance.cfg = before


@contextmanager
def _argv(argv: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, argv
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _environment(**values: str) -> Iterator[None]:
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
