"""Streamed pairs: data sets that make the features of their pictures when they are needed, and keep them in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from dvt.errors import DvtError, TrainingError
from dvt.images import ImageFile
from dvt.streaming.window import Window
from dvt.training.batches import Draw


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """The features of a picture, as float16 on the CPU."""

    raw: Tensor
    """(H, W, (1 + L) C), those of L earlier blocks behind."""
    clean: Tensor
    """(H, W, C)."""


class PairMaker:
    """Makes the features of pictures; what cannot be made is written down once and skipped."""

    def __init__(self, make: Callable[[ImageFile], Made], on_made: Callable[[int], None]):
        """Prepare it.

        Args:
            make: the features of a picture, on the device of `to`.
            on_made: told how many pictures were made so far, after each.
        """
        self._make, self._on_made = make, on_made
        self.failures: dict[str, str] = {}
        """Key and reason of the pictures that could not be made."""
        self.num_made = 0
        """How many were made, again and again those that left the memory in between."""

    def __call__(self, file: ImageFile) -> Made | None:
        """The features of a picture; None where it cannot be done."""
        if file.key in self.failures:
            return None
        try:
            made = self._make(file)
        except DvtError as error:
            self.failures[file.key] = str(error)
            return None
        self.num_made += 1
        self._on_made(self.num_made)
        return made


class StreamedPairs(Dataset[dict[str, Any]]):
    """`key`, `raw` and `clean` of drawn pictures. The window says which are in memory."""

    def __init__(self, files: Sequence[ImageFile], window: Window, maker: PairMaker):
        """Prepare the data set.

        Args:
            files: the list.
            window: which of them are in memory when.
            maker: makes their features.
        """
        self._files, self._window, self._maker = files, window, maker
        self._memory: dict[int, Made | None] = {}
        self._images: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, item: Draw) -> dict[str, Any]:
        """The pair of a draw; where its picture failed, that of the next one in memory.

        Raises:
            TrainingError: none of the pictures in memory could be made.
        """
        images = self._window.images(item.number)
        if images != self._images:
            self._images = images
            self._memory = {image: self._memory[image] for image in images if image in self._memory}
            for image in images:
                if image not in self._memory:
                    self._memory[image] = self._maker(self._files[image])
        place = self._window.drawn(item.number)
        for image in (*images[place:], *images[:place]):
            made = self._memory[image]
            if made is not None:
                return {"key": self._files[image].key, "raw": made.raw, "clean": made.clean}
        reason = next(iter(self._maker.failures.values()))
        raise TrainingError(f"none of {len(images)} pictures could be decomposed; the first: {reason}")


class KeptPairs(Dataset[dict[str, Any]]):
    """`key`, `raw` and `clean` of all pictures of a short list that can be made; they are made here and now."""

    def __init__(self, files: Sequence[ImageFile], maker: PairMaker):
        """Make the features.

        Args:
            files: the list.
            maker: makes their features.

        Raises:
            TrainingError: none of the pictures could be made.
        """
        made = [(file.key, maker(file)) for file in files]
        self._pairs = [{"key": key, "raw": each.raw, "clean": each.clean} for key, each in made if each is not None]
        if not self._pairs:
            reason = next(iter(maker.failures.values()))
            raise TrainingError(
                f"none of the {len(files)} pictures for validation could be decomposed; the first: {reason}"
            )

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, item: int) -> dict[str, Any]:
        return self._pairs[item]
