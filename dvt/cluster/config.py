"""Options of the engines. Imports nothing heavy: the help page needs it."""

from dataclasses import dataclass, fields
from enum import Enum

from dvt.errors import ConfigError


class EngineName(str, Enum):
    """What runs stage 1."""

    local = "local"
    """This process."""
    ray = "ray"
    """Ray workers."""
    slurm = "slurm"
    """An array of SLURM jobs."""


class Cluster(str, Enum):
    """What runs the jobs of engine=slurm."""

    slurm = "slurm"
    """SLURM."""
    local = "local"
    """This machine, for a try."""


@dataclass(kw_only=True, slots=True)
class EngineConfig:
    """What decomposes the images."""

    name: EngineName = EngineName.local
    """local (this process), ray (Ray workers take images one by one) or slurm (jobs, each with a part of the list)."""
    workers: int | None = None
    """Number of workers. Left out: as many as Ray has room for; engine=slurm needs a number."""
    cpus: int = 1
    """CPU cores of each worker."""
    gpus: float | None = None
    """GPUs of each worker; Ray takes fractions. Left out: 1; 0 with device=cpu, and with Ray where there are none."""
    address: str | None = None
    """Address of an existing Ray, such as auto or 10.0.0.1:6379. Left out: start one on this machine."""
    partition: str | None = None
    """SLURM partition."""
    hours: float = 24.0
    """Time limit of a SLURM job; a job that reaches it is requeued and continues."""
    memory_gb: float | None = None
    """Memory of a SLURM job. Left out: the default of the partition."""
    cluster: Cluster = Cluster.slurm
    """What runs the jobs of engine=slurm: slurm, or local (this machine, for a try)."""

    def __post_init__(self) -> None:
        """Check the values, and that the engine uses every option that is given."""
        for name in ("workers", "cpus"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"engine.{name}={value}: give at least 1.")
        for name in ("hours", "memory_gb"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"engine.{name}={value}: give a number above 0.")
        if self.gpus is not None and not self.gpus >= 0:
            raise ConfigError(f"engine.gpus={self.gpus}: give 0 or more.")
        if self.gpus and self.gpus % 1 and (self.gpus > 1 or self.name is EngineName.slurm):
            raise ConfigError(f"engine.gpus={self.gpus}: give a whole number; parts of one GPU are for engine=ray.")
        for entry in fields(self):
            engines = _ENGINES.get(entry.name, tuple(EngineName))
            if self.name not in engines and getattr(self, entry.name) != entry.default:
                raise ConfigError(
                    f"engine.{entry.name} is an option of {' and '.join(f'engine={name.value}' for name in engines)},"
                    f" and engine={self.name.value} was given: leave it out, or give that engine."
                )


_ENGINES = {
    **dict.fromkeys(("workers", "cpus", "gpus"), (EngineName.ray, EngineName.slurm)),
    "address": (EngineName.ray,),
    **dict.fromkeys(("partition", "hours", "memory_gb", "cluster"), (EngineName.slurm,)),
}
"""Engines that use an option, where not all do."""
