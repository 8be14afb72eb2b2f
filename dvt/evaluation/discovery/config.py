"""Options of object discovery and saliency. A light module: it may be imported to print help."""

from dataclasses import dataclass, field, fields
from enum import Enum

from dvt.errors import ConfigError


class Algorithm(str, Enum):
    """How an object is found in a feature map."""

    lost = "lost"
    """LOST (Siméoni et al. 2021): grown from the patch that resembles the fewest others."""
    tokencut = "tokencut"
    """TokenCut (Wang et al. 2022): normalised cut of the graph of similar patches."""

    def __str__(self) -> str:
        return self.value


_OPTIONS_OF = {Algorithm.lost: ("seed", "num_candidates"), Algorithm.tokencut: ("tau", "eps")}
"""What only one of them reads."""


class SeedRule(str, Enum):
    """Which patches LOST takes for those of an object."""

    degree = "degree"
    """Those that resemble the fewest others, as published."""
    norm = "norm"
    """Those with the largest feature norm: the DVT paper's object indicator, as far as it is described."""

    def __str__(self) -> str:
        return self.value


class DataFormat(str, Enum):
    """How a data set is laid out."""

    voc = "voc"
    """Pascal VOC: JPEGImages/, Annotations/*.xml, ImageSets/Main/<split>.txt."""
    davis = "davis"
    """DAVIS: JPEGImages/<resolution>/<sequence>/, Annotations/<resolution>/<sequence>/."""
    folders = "folders"
    """A folder of pictures and a folder of masks of the same names."""

    def __str__(self) -> str:
        return self.value


@dataclass(kw_only=True, slots=True)
class ObjectsConfig:
    """What object discovery and saliency have in common."""

    algorithm: Algorithm = Algorithm.lost
    """How the object is found: lost or tokencut."""
    seed: SeedRule = SeedRule.degree
    """Of lost: its start: degree (patches that resemble few others, as published) or norm (large features)."""
    num_candidates: int = 100
    """Of lost: how many patches the seed may grow by."""
    centre: bool | None = None
    """Subtract the mean feature of the picture first; left out: true for lost, false for tokencut."""
    tau: float = 0.2
    """Of tokencut: patches are joined whose cosine similarity is at least this."""
    eps: float = 1e-5
    """Of tokencut: the weight of pairs of patches that are not joined."""
    image_size: int | None = None
    """Short side in pixels that pictures are looked at in, rounded to whole patches; left out: their own size."""
    format: DataFormat | None = None
    """How the data are laid out: voc, davis or folders; left out: whichever is found."""
    resolution: str = "480p"
    """Of davis: the folder between JPEGImages or Annotations and the sequences."""
    sequences: list[str] = field(default_factory=list)
    """Of davis: the sequences; [] takes all."""
    every: int = 10
    """Of davis: every so-manieth frame of a sequence, from the first."""
    images: str = "images"
    """Of folders: the folder of the pictures."""
    masks: str = "masks"
    """Of folders: the folder of the masks."""
    num_test: int | None = None
    """Pictures, evenly spaced over the list; left out: all."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        for name in ("num_candidates", "image_size", "every", "num_test"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value}: give at least 1.")
        if not -1 < self.tau < 1:
            raise ConfigError(f"tau={self.tau}: give a cosine similarity between -1 and 1.")
        if not 0 < self.eps < 1:
            raise ConfigError(f"eps={self.eps}: give a weight between 0 and 1, both excluded.")

        self._refuse_options_of_others()

    def _refuse_options_of_others(self) -> None:
        defaults = {entry.name: entry.default for entry in fields(self)}
        for algorithm, names in _OPTIONS_OF.items():
            wrong = [name for name in names if getattr(self, name) != defaults[name]]
            if wrong and algorithm is not self.algorithm:
                given = ", ".join(f"{name}={getattr(self, name)}" for name in wrong)
                raise ConfigError(
                    f"{given} has no effect with algorithm={self.algorithm}: leave it out, or give"
                    f" algorithm={algorithm}."
                )

    @property
    def centred(self) -> bool:
        """Whether the mean feature is subtracted."""
        return self.algorithm is Algorithm.lost if self.centre is None else self.centre


@dataclass(kw_only=True, slots=True)
class ObjectDiscoveryConfig(ObjectsConfig):
    """All options of object discovery."""

    split: str = "trainval"
    """Of voc: the list in ImageSets/Main, without .txt."""
    difficult: bool = True
    """Of voc: boxes marked as difficult count, as in LOST's own evaluation."""


@dataclass(kw_only=True, slots=True)
class SaliencyConfig(ObjectsConfig):
    """All options of saliency."""

    algorithm: Algorithm = Algorithm.tokencut
    """How the object is found: tokencut or lost."""
