"""Options of stage 3. Imports no torch: help pages read them."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from dvt.denoiser.config import check_layers
from dvt.errors import ConfigError
from dvt.training.config import Missing, TrainingConfig

_RIDGE: Final = 0.1
_KEEP_WEIGHT: Final = 2.0
_TOP: Final = 5


@dataclass(kw_only=True, slots=True)
class StudentConfig:
    """The trained part of the student, and its loss.

    The original gives the class token no target (weight 0). Here it has one by default, because a distilled ViT
    replaces the ViT also where its class token is used. A denoiser keeps the class token, so this term starts at 0 and
    only resists a drift that training the patches would cause. SRT averages the class token over views, so there it
    starts slightly above 0.
    """

    trained_blocks: int = 0
    """Number of blocks to train, counted back from the teacher's layer, with the final norm; 0: all up to it."""
    layers: Any = field(default_factory=list)
    """Earlier blocks that a linear layer behind the ViT reads as well: a list, counted from 0, or all; []: none, and
    the student is a plain ViT."""
    ridge: float = _RIDGE
    """Strength of the ridge regression that the linear layer of layers starts with; inputs have unit variance."""
    class_token_weight: float | None = None
    """Weight of the class token's distance from the teacher's; 0: none; left out: 0.1 if the ViT has a class token."""
    keep: float = 1.0
    """Share of the patches that go on after a quarter, half and three quarters of the blocks, each time; the others
    come back at the end. 0.7 is DynamicViT's; 1: all patches."""
    keep_weight: float = _KEEP_WEIGHT
    """With keep below 1: weight of the squared distance of the shares that are kept from keep, keep^2 and keep^3."""
    gradient_checkpointing: bool = False
    """Recompute the blocks in the backward pass: less memory, slower, the same result."""

    def __post_init__(self) -> None:
        check_layers("student.layers", self.layers)
        if not self.ridge > 0:
            raise ConfigError(f"student.ridge={self.ridge}: give a number above 0.")
        if self.ridge != _RIDGE and not self.layers:
            raise ConfigError(f"student.ridge={self.ridge} is for student.layers=all: add that, or leave it out.")
        if not 0 < self.keep <= 1:
            raise ConfigError(f"student.keep={self.keep}: give a share above 0, such as 0.7, or 1 to keep all patches.")
        if not self.keep_weight > 0:
            raise ConfigError(f"student.keep_weight={self.keep_weight}: give a number above 0.")
        if self.keep_weight != _KEEP_WEIGHT and self.keep == 1:
            raise ConfigError(
                f"student.keep_weight={self.keep_weight} has no effect with student.keep=1: add student.keep=0.7, or"
                " leave it out."
            )
        if self.trained_blocks < 0:
            raise ConfigError(f"student.trained_blocks={self.trained_blocks}: give 0 (the whole ViT) or more.")
        if self.class_token_weight is not None and not self.class_token_weight >= 0:
            raise ConfigError(f"student.class_token_weight={self.class_token_weight}: give 0 or more.")


@dataclass(kw_only=True, slots=True)
class ImagesConfig:
    """The images, and their augmentation."""

    flip_probability: float = 0.5
    """Probability of a horizontal flip."""
    val_share: float = 0.05
    """Share of the images for validation; their keys decide which."""
    val_max: int = 500
    """Most images kept for validation."""
    crop_area_min: float = 1.0
    """With teacher=store: smallest area of a crop as a share of the image; 1: no crops."""
    missing: Missing = Missing.error
    """With teacher=store: images of images= without features in the store: error (each is named, the run does not
    start) or skip."""

    def __post_init__(self) -> None:
        if not 0 < self.val_share < 1:
            raise ConfigError(f"dataset.val_share={self.val_share}: give a share between 0 and 1.")
        if self.val_max < 1:
            raise ConfigError(f"dataset.val_max={self.val_max}: give at least 1.")
        if not 0 < self.crop_area_min <= 1:
            raise ConfigError(f"dataset.crop_area_min={self.crop_area_min}: give 0 < crop_area_min <= 1.")
        if not 0 <= self.flip_probability <= 1:
            raise ConfigError(f"dataset.flip_probability={self.flip_probability}: give a share between 0 and 1.")


class MixingKind(str, Enum):
    """How the images of a step are mixed, and their targets with them."""

    none = "none"
    """Not at all."""
    mixtoken = "mixtoken"
    """MixToken: a box of embedded patches of another image, in place of the plain pass."""
    unmix = "unmix"
    """Un-Mix: mixed pixels, in a second pass beside the plain one."""


@dataclass(kw_only=True, slots=True)
class MixingConfig:
    """Each image of a step mixed with the one at the mirrored place of the batch."""

    kind: MixingKind = MixingKind.none
    """none, mixtoken (a box of embedded patches of the other image; Jiang et al. 2021) or unmix (mixed pixels, in a
    second pass of the student; Shen et al. 2022)."""
    probability: float | None = None
    """Share of the steps that are mixed; left out: 0.5 for mixtoken, 1 for unmix."""
    global_share: float | None = None
    """For unmix: share of the mixed steps that blend whole images, the others paste a box; left out: 0.5."""

    def __post_init__(self) -> None:
        for name in ("probability", "global_share"):
            value = getattr(self, name)
            if value is not None and self.kind is MixingKind.none:
                raise ConfigError(
                    f"mixing.{name}={value} is for mixing.kind=mixtoken or unmix: give one, or leave it out."
                )
        if self.probability is not None and not 0 < self.probability <= 1:
            raise ConfigError(f"mixing.probability={self.probability}: give 0 < probability <= 1.")
        if self.global_share is not None and self.kind is not MixingKind.unmix:
            raise ConfigError(f"mixing.global_share={self.global_share} is for mixing.kind=unmix: leave it out.")
        if self.global_share is not None and not 0 <= self.global_share <= 1:
            raise ConfigError(f"mixing.global_share={self.global_share}: give a share between 0 and 1.")

    @property
    def share_of_steps(self) -> float:
        """Share of the steps that are mixed: as given, else the default of the kind."""
        if self.probability is not None:
            return self.probability
        return {MixingKind.none: 0.0, MixingKind.mixtoken: 0.5, MixingKind.unmix: 1.0}[self.kind]

    @property
    def share_of_blends(self) -> float:
        """Share of the mixed steps that blend whole images."""
        if self.kind is not MixingKind.unmix:
            return 0.0
        return 0.5 if self.global_share is None else self.global_share


@dataclass(kw_only=True, slots=True)
class LabelsConfig:
    """Dense class labels as a second target: soft scores of a frozen linear classifier on the clean patches."""

    weight: float = 0.0
    """Weight of the soft cross entropy beside the distance of the features; 0: no labels."""
    classifier: str | None = None
    """A file with weight (K, C) and bias (K,), or with a ViT and its head; own: the head in the weights of the ViT."""
    top: int = _TOP
    """Number of classes with scores of their own per patch; the others together are one more."""

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ConfigError(f"labels.weight={self.weight}: give 0 or more.")
        if self.top < 1:
            raise ConfigError(f"labels.top={self.top}: give at least 1.")
        if self.weight and self.classifier is None:
            raise ConfigError(
                f"labels.weight={self.weight} needs a classifier: give labels.classifier=FILE, or own for the head in"
                " the weights of the ViT."
            )
        if not self.weight:
            for name, default in (("classifier", None), ("top", _TOP)):
                if (value := getattr(self, name)) != default:
                    raise ConfigError(f"labels.{name}={value} needs labels.weight above 0: give it, or leave it out.")


@dataclass(kw_only=True, slots=True)
class DistillConfig(TrainingConfig):
    """All options of stage 3.

    The number of updates is that of the original's script: 5 passes over ImageNet in steps of 512 on eight GPUs. The
    default batch of 64 shows an eighth of those images; batch_size=512 is the original's.
    """

    num_steps: int = 12_510
    """Updates."""
    save_every: int = 500
    """Steps between checkpoints."""
    validate_every: int = 500
    """Steps between validations."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """The student."""
    dataset: ImagesConfig = field(default_factory=ImagesConfig)
    """The images it is trained on."""
    mixing: MixingConfig = field(default_factory=MixingConfig)
    """Mixed images."""
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    """Class labels of patches."""
