"""Shard of a list of images. Cheap to import: options are checked before heavy imports."""

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
    """Index of the part, from 0."""
    count: int = 1
    """Number of parts."""

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Parse `i/n` with i from 0: `0/4` to `3/4`.

        Raises:
            ConfigError: the text has another form.
        """
        index, slash, count = text.partition("/")
        if slash and index.isdecimal() and count.isdecimal() and int(index) < int(count):
            return cls(index=int(index), count=int(count))
        raise ConfigError(f"shard={text}: give i/n with 0 <= i < n, for example shard=0/4 to shard=3/4.")

    @property
    def worker(self) -> str:
        """Name of this part in the file names of the store."""
        return f"{self.index}of{self.count}"

    def of(self, files: "Sequence[ImageFile]") -> "Sequence[ImageFile]":
        """The images of this part."""
        return files[self.index :: self.count]
