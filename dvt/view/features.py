"""The work of a job: read its image, run its methods, make the data of the explorer."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from dvt.backbone.backbone import Backbone
from dvt.errors import ImageError
from dvt.images import MAX_PIXELS, read_image
from dvt.images.read import read_encoded
from dvt.methods.explored import explorer_images
from dvt.methods.method import Method
from dvt.shapes import ImageTensor
from dvt.view.jobs import Job
from dvt.viz.explorer import image_data
from dvt.viz.explorer.data import image_budget

Loaded: TypeAlias = tuple[Backbone, Sequence[Method]]
"""A ViT and its methods."""
Load: TypeAlias = Callable[[str, tuple[int, ...]], Loaded]
"""Loads the ViT of that name with the outputs of these blocks, and all methods that are offered for it."""

_MAX_LOADED = 3
"""ViTs in memory; the one that was used least recently makes room."""


class FeatureWork:
    """Computes jobs. One thread at a time may call it.

    Args:
        load: loads a ViT and its methods.
        loaded: those that are loaded already, by name and blocks.
        max_pixels: larger images are refused.
    """

    def __init__(
        self, load: Load, loaded: Mapping[tuple[str, tuple[int, ...]], Loaded], max_pixels: int = MAX_PIXELS
    ) -> None:
        self._load, self._max_pixels = load, max_pixels
        self._loaded = OrderedDict(loaded)

    def __call__(self, job: Job) -> Iterator[dict[str, Any]]:
        """The data of the explorer, more complete each time.

        Raises:
            DvtError: the image cannot be read or is too small, a ViT cannot be loaded, features are not finite.
            CancelledError: the job was cancelled.
        """
        image = self._image(job)
        job.start(0, "", f"loading {job.choice.backbone}")
        backbone, methods = self._models(job.choice.backbone, job.choice.layers)
        job.start(0, "", "features")
        chosen = [method for method in methods if method.name in job.choice.methods]
        grid = backbone.grid_for(job.choice.image_hw)
        for computed in explorer_images(image, job.name, grid, chosen, job):
            yield image_data(computed, image_budget(1))

    def _models(self, name: str, layers: tuple[int, ...]) -> Loaded:
        """A ViT and its methods, from memory if it was used a short time ago."""
        key = (name, layers)
        if key not in self._loaded:
            while len(self._loaded) >= _MAX_LOADED:
                self._loaded.popitem(last=False)
            self._loaded[key] = self._load(name, layers)
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def _image(self, job: Job) -> ImageTensor:
        if isinstance(job.content, bytes):
            return read_encoded(job.content, job.name, max_pixels=self._max_pixels)
        return read_file(job.content, job.name, self._max_pixels)


def read_file(path: Path, name: str, max_pixels: int) -> ImageTensor:
    """Read an image of this machine; errors name it as the page does, without its folder.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return read_image(path, max_pixels=max_pixels)
    except ImageError as error:
        raise ImageError(str(error).replace(str(path), name)) from error
