"""Hydra's search path: groups of one verb, such as `experiment` and `debug`, are in `configs/<verb>/`."""

from pathlib import Path
from typing import ClassVar

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class VerbFolder(SearchPathPlugin):
    """Adds the folder of the verb that runs."""

    folder: ClassVar[Path | None] = None
    """The folder; it need not exist."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder."""
        if self.folder is not None and self.folder.is_dir():
            search_path.append("dvt", f"file://{self.folder}")
