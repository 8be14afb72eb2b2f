"""Options of the engines. A light module: it is imported to print help."""

from dataclasses import dataclass, fields
from enum import Enum

from dvt.errors import ConfigError


class EngineName(str, Enum):
    """Where stage 1 is done."""

    local = "local"
    """In this process."""
    ray = "ray"
    """By workers of Ray."""
    slurm = "slurm"
    """By an array of jobs of SLURM."""


class Cluster(str, Enum):
    """Who runs the jobs of engine=slurm."""

    slurm = "slurm"
    """SLURM."""
    local = "local"
    """This machine, to try it."""


@dataclass(kw_only=True, slots=True)
class EngineConfig:
    """Who decomposes the images."""

    name: EngineName = EngineName.local
    """local (this process), ray (workers of Ray: the images are dealt out) or slurm (jobs, each with its part)."""
    workers: int | None = None
    """How many; left out: as many as Ray has room for. engine=slurm needs a number."""
    cpus: int = 1
    """CPU cores of each worker."""
    gpus: float | None = None
    """GPUs of each worker; Ray takes fractions. Left out: 1; 0 with device=cpu, and with Ray where there are none."""
    address: str | None = None
    """An existing Ray, such as auto or 10.0.0.1:6379; left out: a Ray of its own on this machine."""
    partition: str | None = None
    """Partition of SLURM."""
    hours: float = 24.0
    """Time limit of a job of SLURM; one that reaches it is queued again and goes on."""
    memory_gb: float | None = None
    """Memory of a job of SLURM; left out: what the partition gives."""
    cluster: Cluster = Cluster.slurm
    """Who runs the jobs of engine=slurm: slurm, or local (this machine, to try it)."""

    def __post_init__(self) -> None:
        """Refuse values without meaning, and options of another engine."""
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
        self._refuse_foreign()

    def _refuse_foreign(self) -> None:
        """An option without effect would be a silent mistake."""
        for entry in fields(self):
            takers = _TAKERS.get(entry.name, tuple(EngineName))
            if self.name not in takers and getattr(self, entry.name) != entry.default:
                engines = " and ".join(f"engine={taker.value}" for taker in takers)
                raise ConfigError(
                    f"engine.{entry.name} is an option of {engines}, and engine={self.name.value} was given:"
                    " leave it out, or give that engine."
                )


_BOTH = (EngineName.ray, EngineName.slurm)
_TAKERS = {
    **dict.fromkeys(("workers", "cpus", "gpus"), _BOTH),
    "address": (EngineName.ray,),
    **dict.fromkeys(("partition", "hours", "memory_gb", "cluster"), (EngineName.slurm,)),
}
"""The engines that an option has an effect on, where it is not all of them."""
