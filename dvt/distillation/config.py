"""Options of stage 3: what of the student is trained, and on what. A light module: it may be imported to print help."""

from dataclasses import dataclass, field

from dvt.errors import ConfigError
from dvt.training.config import TrainingConfig


@dataclass(kw_only=True, slots=True)
class StudentConfig:
    """What of the student is trained, and for what.

    The original gives the class token no target (a weight of 0). Here it has one by default: a distilled ViT stands
    wherever the ViT stood, also where its class token is read. A denoiser passes the class token on: at the start this
    term is 0 and pulls nowhere; it only resists where the patches would take the class token along. That of SRT is the
    mean over its views, a little off from the start.
    """

    trained_blocks: int = 0
    """How many blocks are trained, counted back from the one that is read, with the final norm; 0: all that is read."""
    class_token_weight: float | None = None
    """Weight of the class token's distance from that of the teacher; 0: none; left out: 1, where there is one."""
    gradient_checkpointing: bool = False
    """Compute the blocks again on the way back and keep less in memory: slower, the same result."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        if self.trained_blocks < 0:
            raise ConfigError(f"student.trained_blocks={self.trained_blocks}: give 0 (the whole ViT) or more.")
        if self.class_token_weight is not None and not self.class_token_weight >= 0:
            raise ConfigError(f"student.class_token_weight={self.class_token_weight}: give 0 or more.")


@dataclass(kw_only=True, slots=True)
class PicturesConfig:
    """What is learnt from."""

    flip_probability: float = 0.5
    """How often an image is mirrored."""
    val_share: float = 0.05
    """Share of the images kept for validation; which ones depends on their keys alone."""
    val_max: int = 500
    """How many images are kept for validation at most."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        if not 0 < self.val_share < 1:
            raise ConfigError(f"pictures.val_share={self.val_share}: give a share between 0 and 1.")
        if self.val_max < 1:
            raise ConfigError(f"pictures.val_max={self.val_max}: give at least 1.")
        if not 0 <= self.flip_probability <= 1:
            raise ConfigError(f"pictures.flip_probability={self.flip_probability}: give a share between 0 and 1.")


@dataclass(kw_only=True, slots=True)
class DistillConfig(TrainingConfig):
    """All options of stage 3.

    The number of updates is that of the original's script, 5 passes over ImageNet in steps of 512 on eight GPUs. The
    default batch of 64 shows the student an eighth of as many images; batch_size=512 is the original's.
    """

    num_steps: int = 12_510
    """Updates."""
    save_every: int = 500
    """Steps between checkpoints."""
    validate_every: int = 500
    """Steps between validations."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """The ViT that learns."""
    pictures: PicturesConfig = field(default_factory=PicturesConfig)
    """What it learns from."""
