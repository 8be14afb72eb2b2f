"""Streamed pairs: data sets that make the features of their pictures when they are needed, and keep them in memory."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from dvt.backbone.backbone import Backbone
from dvt.decomposition.store_method import StoreMethod
from dvt.denoiser.denoised import denoiser_input
from dvt.denoiser.online.window import Window
from dvt.errors import DvtError, TrainingError
from dvt.images import ImageFile, read_image
from dvt.training.batches import Draw


class PairMaker:
    """Makes the pairs of pictures; what cannot be made is written down once and skipped."""

    def __init__(
        self,
        method: StoreMethod,
        backbone: Backbone,
        layers: Sequence[int],
        *,
        max_pixels: int,
        on_made: Callable[[int], None] = lambda num_made: None,
    ):
        """Prepare it.

        Args:
            method: stage 1.
            backbone: the ViT.
            layers: earlier blocks that are read as well.
            max_pixels: larger pictures are refused.
            on_made: told how many pictures were made so far, after each.
        """
        self._method, self._backbone, self._layers, self._max_pixels = method, backbone, layers, max_pixels
        self._on_made = on_made
        self.failures: dict[str, str] = {}
        """Key and reason of the pictures that could not be made."""
        self.num_made = 0
        """How many were made, again and again those that left the memory in between."""

    def __call__(self, file: ImageFile) -> dict[str, Any] | None:
        """`key`, `raw` (H, W, (1 + L) C) and `clean` (H, W, C), float16 on the CPU; None where it cannot be done."""
        if file.key in self.failures:
            return None
        try:
            pair = self._make(file)
        except DvtError as error:
            self.failures[file.key] = str(error)
            return None
        self.num_made += 1
        self._on_made(self.num_made)
        return pair

    def _make(self, file: ImageFile) -> dict[str, Any]:
        image = read_image(file.path, max_pixels=self._max_pixels)
        maps = self._method(image, file.key).maps
        raw = maps["raw"]
        if self._layers:
            with torch.no_grad():
                view = self._backbone.preprocess(image.to(self._backbone.device))[None]
                raw = denoiser_input(self._backbone, view, self._layers)[0][0].cpu()
        return {"key": file.key, "raw": raw.half(), "clean": maps["clean"].half()}

    def none_of(self, files: Sequence[ImageFile], purpose: str) -> TrainingError:
        """The error where not one of some pictures could be made."""
        return TrainingError(
            f"none of {len(files)} pictures to {purpose} could be decomposed; the first: {self.failures[files[0].key]}"
            "\nMend them or leave them out of images=."
        )


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
        self._memory: dict[int, dict[str, Any] | None] = {}
        self._images: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self._files)

    def fill(self, number: int) -> None:
        """Make the pictures that are in memory at a draw, where they are not there."""
        images = self._window.images(number)
        if images == self._images:
            return
        self._memory = {image: self._memory[image] for image in images if image in self._memory}
        for image in images:
            if image not in self._memory:
                self._memory[image] = self._maker(self._files[image])
        self._images = images

    def __getitem__(self, item: Draw) -> dict[str, Any]:
        """The pair of a draw; where its picture failed, that of the next one in memory.

        Raises:
            TrainingError: none of the pictures in memory could be made.
        """
        self.fill(item.number)
        place = self._window.drawn(item.number)
        for image in (*self._images[place:], *self._images[:place]):
            pair = self._memory[image]
            if pair is not None:
                return pair
        raise self._maker.none_of([self._files[image] for image in self._images], "learn from")


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
        self._pairs = [pair for file in files if (pair := maker(file)) is not None]
        if not self._pairs:
            raise maker.none_of(files, "validate on")

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, item: int) -> dict[str, Any]:
        return self._pairs[item]
