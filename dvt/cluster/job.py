"""Job: what a worker anywhere needs to know to decompose images into a store."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dvt.backbone.backbone import Backbone
from dvt.backbone.config import BackboneConfig
from dvt.backbone.load import load_from_config
from dvt.cluster.config import EngineConfig
from dvt.decomposition.config import DecomposeConfig
from dvt.decomposition.run_list import ListOptions, Shard
from dvt.decomposition.store_method import StoreMethod, store_method
from dvt.errors import ConfigError, EngineError
from dvt.images import ImageFile
from dvt.runtime import pick_device
from dvt.srt.config import SrtConfig
from dvt.version import __version__
from dvt.weights.backbone_file import RANDOM


@dataclass(kw_only=True, slots=True)
class Job:
    """The work, as plain data that can be pickled; paths are made absolute, for workers in other folders."""

    backbone: BackboneConfig
    """The ViT."""
    device: str
    """Where a worker runs it, as in `pick_device`."""
    store: str
    """Folder of the store."""
    config: DecomposeConfig | SrtConfig
    """How an image is decomposed; options of SRT make its features the clean ones instead."""
    options: ListOptions
    """Seed, arrays and the like."""
    version: str = __version__
    """Version of dvt that asks for the work."""

    def __post_init__(self) -> None:
        """Make the paths absolute."""
        self.store = str(Path(self.store).absolute())
        if self.backbone.weights not in (None, RANDOM):
            self.backbone = replace(self.backbone, weights=str(Path(self.backbone.weights).absolute()))

    def load(self) -> tuple[Backbone, StoreMethod]:
        """The ViT on the device, and what makes the maps of an image: once for all images of a worker.

        Raises:
            EngineError: this is another version of dvt.
            ConfigError: there is no such device here, or options that do not go together.
            BackboneError: no such ViT, or its weights cannot be had.
        """
        if self.version != __version__:
            raise EngineError(f"dvt is {__version__} here and {self.version} where the run was started: install one.")
        backbone = load_from_config(self.backbone, pick_device(self.device))
        options = self.options
        return backbone, store_method(backbone, self.config, options.seed, options.quality, options.arrays)


def absolute(files: Sequence[ImageFile]) -> list[ImageFile]:
    """The images, to be found from any folder."""
    return [ImageFile(file.key, file.path.absolute()) for file in files]


def check(job: Job, engine: EngineConfig) -> None:
    """Refuse what does not go with workers elsewhere.

    Raises:
        ConfigError: a shard, or one GPU by its number.
    """
    name = engine.name.value
    if job.options.shard != Shard():
        shard = f"{job.options.shard.index}/{job.options.shard.count}"
        raise ConfigError(
            f"shard={shard}: engine={name} shares out the images itself. Leave shard out, or give engine=local."
        )
    if ":" in job.device:
        raise ConfigError(
            f"device={job.device}: with engine={name} every worker has GPUs of its own, counted from 0."
            " Give device=cuda, and engine.gpus for how many."
        )
