"""Options of stage 2. Imports no torch: help pages read them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from math import inf
from typing import Any, Final

from dvt.errors import ConfigError
from dvt.options import check_range
from dvt.training.config import Missing, TrainingConfig

ALL: Final = "all"
"""`denoiser.layers` of this value: every block before that of the features."""


class Kind(str, Enum):
    """The architecture of a denoiser."""

    block = "block"
    """Standard transformer blocks (the paper's; its Table 6 compares all three)."""
    conv1x1 = "conv1x1"
    """Three 1 x 1 convolutions: each patch alone."""
    conv3x3 = "conv3x3"
    """Three 3 x 3 convolutions: each patch and its neighbours."""
    semantic_tokens = "semantic_tokens"
    """Each patch and a few tokens pooled from all patches (Wu et al. 2020): its cost is linear in the patches."""
    linear = "linear"
    """One linear layer: each patch alone. It is solved by ridge regression, and not trained by steps."""
    affine = "affine"
    """One linear layer, and a vector for every position behind it. `dvt calibrate` computes it; it is not trained."""
    registers = "registers"
    """A few neurons of the ViT, whose activations are moved to an extra token. `dvt calibrate` finds them."""


class Mixing(str, Enum):
    """How earlier blocks of the ViT enter the denoiser."""

    residual = "residual"
    """Output of the ViT plus a linear map of the earlier blocks, which starts at zero."""
    linear = "linear"
    """One linear map of the output and the earlier blocks together; no residual path."""


@dataclass(kw_only=True, slots=True)
class DenoiserConfig:
    """The architecture of a denoiser; the defaults are the paper's (s. 4.3)."""

    kind: Kind = Kind.block
    """block (transformer blocks), conv1x1, conv3x3, semantic_tokens (a few tokens pooled from the patches) or linear (a
    linear layer, solved by ridge regression); affine and registers are
    what dvt calibrate makes."""
    num_blocks: int = 1
    """Number of transformer blocks, or of modules of semantic tokens."""
    position_embedding: bool = True
    """Add a learnable position embedding before the blocks, or before the modules of semantic tokens."""
    head_channels: int = 64
    """Channels of an attention head; there are C / head_channels heads."""
    mlp_ratio: float = 4.0
    """Hidden channels of the MLP, as a multiple of C."""
    layers: Any = field(default_factory=list)
    """Earlier blocks of the ViT used as input too: a list, counted from 0, or all; [] as in the paper. Needs
    pairs.raw=computed."""
    mixing: Mixing = Mixing.residual
    """How layers enter: residual (the output plus a linear map of them) or linear (one linear map of both)."""
    fine: int = 1
    """Cells per patch along each side of the output; above 1 the store has to hold F (dvt decompose fine=2)."""
    groups: int = 1
    """Equal groups of channels with blocks of their own, such as one per layer of backbone.layer=[2,5,8,11]."""
    tokens: int | None = None
    """With kind=semantic_tokens: number of tokens; default: 16."""

    def __post_init__(self) -> None:
        for name in ("num_blocks", "head_channels", "fine", "groups", "tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"denoiser.{name}={value}: give at least 1.")
        if not self.mlp_ratio > 0:
            raise ConfigError(f"denoiser.mlp_ratio={self.mlp_ratio}: give a number above 0.")
        check_layers("denoiser.layers", self.layers)
        if self.kind is Kind.registers and (self.layers or self.fine > 1 or self.groups > 1):
            raise ConfigError(
                "denoiser.kind=registers changes the forward pass of the ViT and nothing behind it: leave out"
                " denoiser.layers, denoiser.fine and denoiser.groups."
            )

    @property
    def num_tokens(self) -> int:
        """Number of semantic tokens."""
        return 16 if self.tokens is None else self.tokens

    @property
    def in_a_row(self) -> bool:
        """Whether the network takes the patches in a row, (B, H W, C), and not as a map."""
        return self.kind in (Kind.block, Kind.semantic_tokens)

    @property
    def is_linear(self) -> bool:
        """Whether it is a linear map of each patch alone, with or without a vector per position."""
        return self.kind in (Kind.linear, Kind.affine)

    @classmethod
    def from_plain(cls, options: Mapping[str, Any]) -> "DenoiserConfig":
        """The architecture that a file describes, as plain JSON; what it does not name has its default.

        Raises:
            TypeError: an option does not exist, or has a value of another type.
            ValueError: an option has a value that does not exist.
        """
        choices = {"kind": Kind, "mixing": Mixing}
        kinds = {
            "num_blocks": (int,),
            "head_channels": (int,),
            "fine": (int,),
            "groups": (int,),
            "tokens": (type(None), int),
            "mlp_ratio": (int, float),
        }
        for name, types in kinds.items():
            if name in options and type(options[name]) not in types:
                raise TypeError(f"{name} is {options[name]!r}, not of type {types[-1].__name__}")
        return cls(**{name: choices[name](value) if name in choices else value for name, value in options.items()})

    def to_plain(self) -> dict[str, Any]:
        """The inverse of `from_plain`; options that have no value are left out, so that an older dvt reads the file."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def for_layers(self, layers: tuple[int, ...], option: str = "denoiser.layers") -> "DenoiserConfig":
        """The architecture for the output of a block: `layers=all` becomes the list of the blocks before it.

        Args:
            layers: index of the block, counted from 0; of several, all.
            option: name of the option, for the error.

        Raises:
            ConfigError: the option has blocks that are not before it, or the features are of several blocks.

        Examples:
            >>> DenoiserConfig(layers="all").for_layers((5,)).layers
            [0, 1, 2, 3, 4]
        """
        *others, last = layers
        if others and self.layers:
            raise ConfigError(f"{option}={self.layers} with backbone.layer={list(layers)}: give one of them.")
        earlier = list(range(last)) if self.layers == ALL else self.layers
        if any(each >= last for each in earlier):
            raise ConfigError(f"{option}={earlier}: give blocks before block {last}, which the features are of.")
        return replace(self, layers=earlier)


def check_layers(name: str, layers: Any) -> None:
    """Check a list of blocks.

    Args:
        name: of the option, for the error.
        layers: what it was given.

    Raises:
        ConfigError: neither `all` nor a list of blocks.
    """
    is_list = isinstance(layers, list) and all(type(layer) is int and layer >= 0 for layer in layers)
    if layers != ALL and not (is_list and layers == sorted(set(layers))):
        raise ConfigError(f"{name}={layers}: give blocks counted from 0, ascending, each once, or all.")


class Raw(str, Enum):
    """Source of the raw features."""

    stored = "stored"
    """From the store: no ViT is run."""
    computed = "computed"
    """Computed from the images by the frozen ViT once, before the training; kept in memory as float16."""
    recomputed = "recomputed"
    """Computed from the images by the frozen ViT in every step; allows flips and crops."""


@dataclass(kw_only=True, slots=True)
class PairsConfig:
    """The pairs of raw and clean features."""

    raw: Raw = Raw.stored
    """stored (from the store), computed (from images=, by the ViT, once) or recomputed (in every step)."""
    missing: Missing = Missing.error
    """Images of images= without features in the store: error (each is named, the run does not start) or skip."""
    val_share: float = 0.05
    """Share of the images for validation; their keys decide which."""
    crop_area_min: float = 1.0
    """With raw=recomputed: smallest area of a crop as a share of the image; 1: no crops."""
    flip_probability: float = 0.5
    """With raw=recomputed: probability of a horizontal flip."""

    def __post_init__(self) -> None:
        if not 0 < self.val_share < 1:
            raise ConfigError(f"pairs.val_share={self.val_share}: give a share between 0 and 1.")
        if not 0 < self.crop_area_min <= 1:
            raise ConfigError(f"pairs.crop_area_min={self.crop_area_min}: give 0 < crop_area_min <= 1.")
        if not 0 <= self.flip_probability <= 1:
            raise ConfigError(f"pairs.flip_probability={self.flip_probability}: give a share between 0 and 1.")


@dataclass(kw_only=True, slots=True)
class RidgeConfig:
    """How a linear denoiser is solved."""

    strengths: list[float] = field(default_factory=lambda: [1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    """Strengths to try; the validation images choose. Inputs have unit variance, and 1 halves a direction of that
    variance."""

    def __post_init__(self) -> None:
        if not self.strengths or not all(strength > 0 for strength in self.strengths):
            raise ConfigError(f"ridge.strengths={self.strengths}: give at least one number, each above 0.")


class Answer(str, Enum):
    """What the position adversary should answer when it reads denoised features."""

    clean = "clean"
    """What it answers when it reads the clean features: the content of an image may say where a patch is."""
    uniform = "uniform"
    """All places alike."""


HEAD_CHANNELS: Final = 16
"""Channels of an attention head of the position adversary."""


@dataclass(kw_only=True, slots=True)
class AdversaryConfig:
    """A position adversary: a small ViT that reads from denoised features where a patch stood (docs/adversary.md)."""

    weight: float = 0.0
    """Weight, in the loss of the denoiser, of what the adversary can read; 0: no adversary."""
    answer: Answer = Answer.clean
    """What it should answer for denoised features: the same as for clean ones (clean) or all places alike (uniform)."""
    tokens: int = 16
    """Patches of a set, which it reads together; they are drawn from all over the map."""
    sets: int = 4
    """Sets that it reads of each map in a step, fewer of a small map; no patch is in two of them."""
    channels: int = 64
    """Its channels, a multiple of 16."""
    num_blocks: int = 2
    """Its transformer blocks."""
    consistency: float = 10.0
    """Weight of bCR: a patch should get the same answer in another set of patches; 0: without."""
    learning_rate: float = 1e-3
    """Its highest learning rate; it warms up and falls as that of the denoiser does."""

    def __post_init__(self) -> None:
        check_range(self, "weight", "consistency", least=0, below=inf, group="adversary.")
        check_range(self, "tokens", "sets", "num_blocks", least=1, group="adversary.")
        check_range(self, "learning_rate", above=0, below=inf, group="adversary.")
        if self.channels < 1 or self.channels % HEAD_CHANNELS:
            raise ConfigError(f"adversary.channels={self.channels}: give a multiple of {HEAD_CHANNELS}.")

    def check_grid(self, grid_hw: tuple[int, int]) -> None:
        """Refuse maps with fewer patches than a set.

        Args:
            grid_hw: rows and columns of the denoised maps.

        Raises:
            ConfigError: with what to give.
        """
        rows, columns = grid_hw
        if self.weight and self.tokens > rows * columns:
            raise ConfigError(
                f"adversary.tokens={self.tokens}: the maps have {rows} x {columns} patches. Give"
                f" {rows * columns} or fewer."
            )


@dataclass(kw_only=True, slots=True)
class TrainConfig(TrainingConfig):
    """All options of stage 2."""

    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    """The denoiser."""
    pairs: PairsConfig = field(default_factory=PairsConfig)
    """The pairs it is trained on."""
    ridge: RidgeConfig = field(default_factory=RidgeConfig)
    """With denoiser.kind=linear: how it is solved."""
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)
    """The position adversary."""

    def __post_init__(self) -> None:
        TrainingConfig.__post_init__(self)
        if self.denoiser.kind in (Kind.affine, Kind.registers):
            kind = self.denoiser.kind.value
            raise ConfigError(f"denoiser.kind={kind} is not trained: dvt calibrate images=... out=... computes it.")
        _refuse_without_effect(self.denoiser)
        if self.adversary.weight and self.denoiser.is_linear:
            raise ConfigError(
                f"adversary.weight={self.adversary.weight} with denoiser.kind=linear (recipe=ridge): it is solved, and"
                " not trained by steps. Give another kind, or leave adversary.weight out."
            )
        if not self.adversary.weight and self.adversary != AdversaryConfig():
            raise ConfigError("options of adversary have no effect with adversary.weight=0: give a weight, such as 1.")


def _refuse_without_effect(config: DenoiserConfig) -> None:
    """Refuse options of other kinds. Folders of before may hold them, so `DenoiserConfig` takes them."""
    own = {
        "num_blocks": (Kind.block, Kind.semantic_tokens),
        "position_embedding": (Kind.block, Kind.semantic_tokens),
        "head_channels": (Kind.block,),
        "mlp_ratio": (Kind.block,),
        "tokens": (Kind.semantic_tokens,),
    }
    defaults = {each.name: each.default for each in fields(config)}
    for name, kinds in own.items():
        if config.kind not in kinds and (value := getattr(config, name)) != defaults[name]:
            names = " or ".join(kind.value for kind in kinds)
            raise ConfigError(
                f"denoiser.{name}={value} has no effect with denoiser.kind={config.kind.value}: leave it out, or give"
                f" denoiser.kind={names}."
            )


@dataclass(kw_only=True, slots=True)
class OnlineConfig:
    """How stage 1 feeds stage 2 in memory, without a store."""

    quality: str = "fast"
    """Quality of stage 1, as in dvt decompose: draft, fast, best, paper, reference or tiny."""
    num_views: int | None = None
    """Views of each image; left out: those of the quality."""
    buffer: int = 512
    """Images kept in memory, 4 H W C bytes each. The oldest image is evicted when the buffer is full."""
    reuse: int = 16
    """Decompose one new image every `reuse` training samples."""
    val_images: int = 32
    """Most images kept for validation; pairs.val_share may ask for fewer."""

    def __post_init__(self) -> None:
        for name in ("buffer", "reuse", "val_images"):
            if getattr(self, name) < 1:
                raise ConfigError(f"stream.{name}={getattr(self, name)}: give at least 1.")


def check_images(config: TrainConfig, *, given: bool) -> None:
    """Refuse options that need images where none are given, before anything is loaded.

    Raises:
        ConfigError: with what to give.
    """
    if config.denoiser.layers and config.pairs.raw is Raw.stored:
        raise ConfigError(
            f"denoiser.layers={config.denoiser.layers}: a store holds the features of one block only. Give"
            " pairs.raw=computed and images=..."
        )
    if config.pairs.raw is not Raw.stored and not given:
        raise ConfigError(f"pairs.raw={config.pairs.raw.value} needs the images: give images=... as for dvt decompose.")
