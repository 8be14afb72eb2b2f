"""Options of retrieval. A light module: imported to print help."""

from dataclasses import dataclass, field
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

    def __post_init__(self) -> None:
        check_each_once("pooling", self.pooling, Pooling)
        check_range(self, "num_neighbours", "num_train", "num_test", least=1)
        check_range(self, "gem_power", "temperature", above=0)
        if not self.train or not self.val or self.train == self.val:
            raise ConfigError(f"train={self.train!r}, val={self.val!r}: give the names of two folders.")
