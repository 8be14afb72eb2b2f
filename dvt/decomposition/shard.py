"""One of several equal parts of a list of images. A light module: options are checked with it before heavy imports."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dvt.errors import ConfigError

if TYPE_CHECKING:
    from dvt.images import ImageFile


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` equal parts of a list, for several processes or machines on one store."""

    index: int = 0
    """Which part, counted from 0."""
    count: int = 1
    """How many parts there are."""

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """From `i/n`, counted from 0: `0/4` to `3/4`.

        Raises:
            ConfigError: it is not of that form.
        """
        index, slash, count = text.partition("/")
        if slash and index.isdecimal() and count.isdecimal() and int(index) < int(count):
            return cls(index=int(index), count=int(count))
        raise ConfigError(f"shard={text}: give i/n with 0 <= i < n, for example shard=0/4 to shard=3/4.")

    @property
    def worker(self) -> str:
        """How this part signs its files in the store."""
        return f"{self.index}of{self.count}"

    def of(self, files: "Sequence[ImageFile]") -> "Sequence[ImageFile]":
        """The images of this part."""
        return files[self.index :: self.count]
