"""Options of object discovery and saliency. A light module: imported to print help."""

from dataclasses import dataclass, field, fields

from dvt.errors import ConfigError
from dvt.options import Choice, check_range


class Algorithm(Choice):
    """How an object is found in a feature map."""

    lost = "lost"
    """LOST (Siméoni et al. 2021): grown from the patch that is similar to the fewest others."""
    tokencut = "tokencut"
    """TokenCut (Wang et al. 2022): normalised cut of the graph of similar patches."""


class SeedRule(Choice):
    """Which patches LOST starts from."""

    degree = "degree"
    """Those similar to the fewest others, as published."""
    norm = "norm"
    """Those with the largest feature norm: the DVT paper's object indicator, as far as it is described."""


class DataFormat(Choice):
    """Layout of a data set."""

    voc = "voc"
    """Pascal VOC: JPEGImages/, Annotations/*.xml, ImageSets/Main/<split>.txt."""
    davis = "davis"
    """DAVIS: JPEGImages/<resolution>/<sequence>/, Annotations/<resolution>/<sequence>/."""
    folders = "folders"
    """A folder of images and a folder of masks with the same names."""


@dataclass(kw_only=True, slots=True)
class ObjectsConfig:
    """Options that object discovery and saliency share."""

    algorithm: Algorithm = Algorithm.lost
    """How the object is found: lost or tokencut."""
    seed: SeedRule = SeedRule.degree
    """lost only: where it starts, degree (patches similar to few others, as published) or norm (large features)."""
    num_candidates: int = 100
    """lost only: how many patches the seed may grow by."""
    centre: bool | None = None
    """Subtract the mean feature of the image first; left out: true for lost, false for tokencut."""
    tau: float = 0.2
    """tokencut only: patches with at least this cosine similarity are connected."""
    eps: float = 1e-5
    """tokencut only: weight of pairs of patches that are not connected."""
    image_size: int | None = None
    """Short side of images in pixels, rounded to whole patches; left out: their own size."""
    format: DataFormat | None = None
    """Layout of the data: voc, davis or folders; left out: detected."""
    resolution: str = "480p"
    """davis only: the folder between JPEGImages or Annotations and the sequences."""
    sequences: list[str] = field(default_factory=list)
    """davis only: names of sequences; [] takes all."""
    every: int = 10
    """davis only: use every n-th frame of a sequence, from the first."""
    images: str = "images"
    """folders only: the folder of the images."""
    masks: str = "masks"
    """folders only: the folder of the masks."""
    num_test: int | None = None
    """Number of images, evenly spaced over the list; left out: all."""

    def __post_init__(self) -> None:
        check_range(self, "num_candidates", "image_size", "every", "num_test", least=1)
        check_range(self, "tau", above=-1, below=1)
        check_range(self, "eps", above=0, below=1)
        other, names = {
            Algorithm.lost: (Algorithm.tokencut, ("tau", "eps")),
            Algorithm.tokencut: (Algorithm.lost, ("seed", "num_candidates")),
        }[self.algorithm]
        defaults = {entry.name: entry.default for entry in fields(self)}
        if given := [f"{name}={getattr(self, name)}" for name in names if getattr(self, name) != defaults[name]]:
            raise ConfigError(
                f"{', '.join(given)} has no effect with algorithm={self.algorithm}: leave it out, or give"
                f" algorithm={other}."
            )

    @property
    def centred(self) -> bool:
        """Whether the mean feature is subtracted."""
        return self.algorithm is Algorithm.lost if self.centre is None else self.centre


@dataclass(kw_only=True, slots=True)
class ObjectDiscoveryConfig(ObjectsConfig):
    """All options of object discovery."""

    split: str = "trainval"
    """voc only: the list in ImageSets/Main, without .txt."""
    difficult: bool = True
    """voc only: boxes marked as difficult count, as in LOST's own evaluation."""


@dataclass(kw_only=True, slots=True)
class SaliencyConfig(ObjectsConfig):
    """All options of saliency."""

    algorithm: Algorithm = Algorithm.tokencut
    """How the object is found: tokencut or lost."""
