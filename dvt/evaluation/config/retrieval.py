"""Options of retrieval. A light module: imported to print help."""

from dataclasses import dataclass, field, fields
from typing import Any

from dvt.errors import ConfigError
from dvt.options import Choice, check_each_once, check_range


class Pooling(Choice):
    """How the features of an image become one descriptor."""

    mean = "mean"
    """The mean of its patches."""
    gem = "gem"
    """Their generalised mean (Radenović et al. 2018)."""
    class_token = "class_token"
    """The class token: the first of the prefix tokens."""

    @property
    def label(self) -> str:
        """Its name in tables."""
        return {"mean": "mean", "gem": "GeM", "class_token": "class token"}[self.value]


class HeadKind(Choice):
    """What stands between pooled features and ranking."""

    none = "none"
    """Nothing: descriptors are compared as they are."""
    linear = "linear"
    """A linear map that is trained on other classes than those searched (El-Nouby et al. 2021)."""


@dataclass(kw_only=True, slots=True)
class RetrievalHeadConfig:
    """A head on frozen descriptors, trained on some classes and tested on the others."""

    kind: HeadKind = HeadKind.none
    """none, or linear: a linear map, trained by a contrastive loss; scores without it stand beside."""
    dimensions: int | None = None
    """Length of its output; it starts at the principal axes. Left out: that of the features, from the identity."""
    classes: float = 0.5
    """Share of the classes that train it, evenly spaced in the sorted list; the others are searched."""
    num_train: int | None = None
    """Images that train it, shared out evenly over these classes and evenly spaced in each; left out: all."""
    num_steps: int = 200
    """Training steps; 0 leaves it as it starts."""
    batch_size: int = 64
    """Images per step, each at most once."""
    learning_rate: float = 1e-3
    """Learning rate of AdamW at the first step; it falls linearly to 0."""
    weight_decay: float = 5e-4
    """Weight decay of AdamW."""
    margin: float = 0.5
    """Cosine similarity up to which images of different classes are not pushed apart."""
    memory: int = 1024
    """Descriptors of earlier steps that a batch is compared with; 0: with itself alone."""
    koleo_weight: float = 0.7
    """Weight of KoLeo in the loss: descriptors of a batch are pushed away from their nearest neighbour."""
    seeds: int = 3
    """Heads to train; they differ in the order of the images."""

    def __post_init__(self) -> None:
        check_range(self, "dimensions", least=2, group="head.")
        check_range(self, "classes", above=0, below=1, group="head.")
        check_range(self, "num_train", "batch_size", least=2, group="head.")
        check_range(self, "seeds", least=1, group="head.")
        at_least_0 = ("num_steps", "learning_rate", "weight_decay", "memory", "koleo_weight")
        check_range(self, *at_least_0, least=0, group="head.")
        check_range(self, "margin", least=-1, below=1, group="head.")
        if self.kind == HeadKind.none:
            for entry in fields(self):
                if (value := getattr(self, entry.name)) != entry.default:
                    raise ConfigError(
                        f"head.{entry.name}={value} has no effect with head.kind=none: give head.kind=linear."
                    )


@dataclass(kw_only=True, slots=True)
class RetrievalConfig:
    """All options of retrieval and k-NN classification."""

    pooling: list[Pooling] = field(default_factory=lambda: [Pooling.mean, Pooling.class_token])
    """Descriptors to compare: mean, gem, class_token; each has all metrics."""
    gem_power: float = 3.0
    """Exponent of gem: 1 is the mean of the positive parts, large values approach their maximum."""
    num_neighbours: int = 20
    """How many neighbours vote on the class of an image."""
    temperature: float | None = 0.07
    """A neighbour's vote weighs exp(cosine similarity / temperature); null: all weigh the same."""
    image_size: Any = 224
    """Size of images in pixels, one number or [height,width]."""
    crop: bool = True
    """Take the largest central part with the aspect of image_size; false squashes the whole image."""
    train: str = "train"
    """Folder of the database, with a folder per class; if neither it nor val exists, data itself has the classes."""
    val: str = "val"
    """Folder of the queries, likewise."""
    num_train: int | None = None
    """Images of the database, shared out evenly over the classes and evenly spaced in each; left out: all."""
    num_test: int | None = None
    """Images used as queries, likewise."""
    head: RetrievalHeadConfig = field(default_factory=RetrievalHeadConfig)
    """A head that is trained on the descriptors."""

    def __post_init__(self) -> None:
        check_each_once("pooling", self.pooling, Pooling)
        check_range(self, "num_neighbours", "num_train", "num_test", least=1)
        check_range(self, "gem_power", "temperature", above=0)
        if not self.train or not self.val or self.train == self.val:
            raise ConfigError(f"train={self.train!r}, val={self.val!r}: give the names of two folders.")
