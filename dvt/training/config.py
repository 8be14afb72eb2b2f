"""Options of a training. Imports no torch: help pages read them."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from dvt.errors import ConfigError

_PROFILERS = ("simple", "advanced", "pytorch")
_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW with warm-up and cosine, as in the released code of the original."""

    base_learning_rate: float = 2e-4
    """Peak learning rate at the reference batch; other batches scale it by sqrt(batch / reference)."""
    reference_batch: int = 256
    """Batch size that base_learning_rate is for."""
    final_learning_rate: float = 1e-6
    """Learning rate at the end of the cosine."""
    warmup: float = 0.15
    """Share of the steps that warm up linearly from zero."""
    weight_decay: float = 1e-5
    """Weight decay of AdamW, on all parameters."""
    beta1: float = 0.9
    """Decay of AdamW's mean of gradients."""
    beta2: float = 0.999
    """Decay of AdamW's mean of squared gradients."""
    clip_norm: float = 0.0
    """Clip gradients to this norm; 0: no clipping."""
    ema_decay: float = 0.0
    """Decay of a moving average of the weights, which is validated and published; 0: no average."""

    def __post_init__(self) -> None:
        if not self.base_learning_rate > 0 or self.reference_batch < 1:
            raise ConfigError(
                f"optimizer.base_learning_rate={self.base_learning_rate},"
                f" optimizer.reference_batch={self.reference_batch}: give numbers above 0."
            )
        for name in ("final_learning_rate", "weight_decay", "clip_norm"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"optimizer.{name}={getattr(self, name)}: give 0 or more.")
        for name in ("warmup", "beta1", "beta2", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"optimizer.{name}={getattr(self, name)}: give 0 <= {name} < 1.")


@dataclass(kw_only=True, slots=True)
class TrainerConfig:
    """Where the training runs, in Lightning's terms."""

    accelerator: str = "auto"
    """auto, cpu, gpu or mps."""
    devices: Any = 1
    """Number of devices per node, auto for all, or a list of their numbers."""
    num_nodes: int = 1
    """Machines; start the same command on each, by SLURM or torchrun."""
    strategy: str = "auto"
    """auto, ddp, or another strategy of Lightning."""
    precision: str = "32-true"
    """32-true, bf16-mixed or 16-mixed."""
    profiler: str | None = None
    """Write the time of every part of a step to out/fit-profile.txt: simple, advanced or pytorch (Lightning's)."""

    def __post_init__(self) -> None:
        """Refuse formats that lose small updates of the weights."""
        if self.precision not in _PRECISIONS:
            raise ConfigError(f"trainer.precision={self.precision}: give one of {', '.join(_PRECISIONS)}.")
        if self.profiler not in (None, *_PROFILERS):
            raise ConfigError(f"trainer.profiler={self.profiler}: give one of {', '.join(_PROFILERS)}, or null.")


class LoggerKind(str, Enum):
    """Where the metrics of a run go."""

    csv = "csv"
    """A table, logs/<start>/metrics.csv."""
    tensorboard = "tensorboard"
    """Event files for TensorBoard (the `tensorboard` extra)."""
    wandb = "wandb"
    """Weights & Biases."""
    none = "none"
    """Nowhere."""


@dataclass(kw_only=True, slots=True)
class LoggerConfig:
    """Where the metrics of a run go."""

    kind: LoggerKind = LoggerKind.csv
    """csv, tensorboard, wandb or none."""
    project: str | None = None
    """Project in wandb; left out: WANDB_PROJECT, or dvt."""
    name: str | None = None
    """Name of the run in wandb; left out: WANDB_NAME, or the name of the output folder."""
    offline: bool = False
    """Keep wandb's files local and send nothing; needs no account. WANDB_MODE=offline and disabled count too."""


class Missing(str, Enum):
    """What happens to images without features in the store."""

    error = "error"
    """The run does not start, and each is named."""
    skip = "skip"
    """They are left out and counted."""


@dataclass(kw_only=True, slots=True)
class TrainingConfig:
    """Options of stages 2 and 3."""

    num_steps: int = 5000
    """Updates."""
    batch_size: int = 64
    """Images per update, over all devices together."""
    one_batch: bool = False
    """Train on the first batch in every step: the loss must keep falling, or the training is broken."""
    seed: int = 0
    """Seed for initialisation, data order and augmentation."""
    resume: str = "auto"
    """auto: continue the run in out if there is one; none: refuse an out that has one; or a checkpoint."""
    allow_changes: bool = False
    """Resume even if settings differ from those of the checkpoint."""
    save_every: int = 250
    """Steps between checkpoints."""
    keep_checkpoints: int = 2
    """Number of checkpoints to keep, the newest."""
    validate_every: int = 250
    """Steps between validations."""
    show_every: int = 500
    """Steps between panels of validation images, drawn at validations; 0: none."""
    log_every: int = 10
    """Steps between logged metrics."""
    num_workers: int = 0
    """Processes that read data; 0: the training process."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """The optimiser."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """Where the training runs."""
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    """Where the metrics go."""

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "save_every", "keep_checkpoints", "validate_every", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: give at least 1.")
        for name in ("show_every", "num_workers"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}: give 0 or more.")
