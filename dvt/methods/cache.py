"""Cached: a method whose features are kept on disk."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from dvt.backbone.features import Features
from dvt.files import disk_errors, write_atomic
from dvt.grid import PatchGrid
from dvt.methods.decomposed import Decomposed
from dvt.methods.method import Images, Method, fingerprint
from dvt.methods.position import WithPosition
from dvt.paths import expand_home
from dvt.shapes import ImageTensor
from dvt.spec import FeatureSpec
from dvt.version import __version__

EXPENSIVE: Final = 9
"""Forward passes per image from which features are worth their place on the disk."""


class Cached:
    """A method whose features are kept in a folder, one file per image, image size and method.

    A file is found by the pixels of the image, not by its name. Files are written atomically; the folder may be
    deleted at any time. Files of another version of dvt are not used.
    """

    def __init__(self, method: Method, folder: str | Path, others: Iterable[Method] = ()):
        """Keep the features of `method` in `folder`, which is made when the first features are written.

        Where stage 1 runs, the features of `others` that read the same F or G are made and kept as well.
        """
        self.method, self.name, self.cost = method, method.name, method.cost
        self.spec: FeatureSpec = method.spec
        self.options: Mapping[str, Any] = method.options
        about = json.dumps({"dvt": __version__, **fingerprint(method)}, sort_keys=True, allow_nan=False)
        self._folder = expand_home(folder) / hashlib.sha256(about.encode()).hexdigest()[:16]
        self._others: list[Cached] = []
        if isinstance(method, Decomposed):
            same = (other for other in map(_innermost, others) if method.same_field(other))
            by_folder = {each._folder: each for each in (Cached(other, folder) for other in same)}
            self._others = [each for place, each in by_folder.items() if place != self._folder]

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches at an image size (height, width)."""
        return self.method.grid_for(image_hw)

    def __call__(self, images: Images, image_hw: tuple[int, int]) -> Features:
        """Features of images: read where they are in the folder, made by the method where not."""
        paths = [self._path(image, image_hw) for image in images]
        maps = {path: found for path in paths if (found := _read(path)) is not None}
        new = [image for image, path in zip(images, paths, strict=True) if path not in maps]
        device = images[0].device
        if new:
            features, *others = self._make(new, image_hw)
            device = features.patches.device
            maps |= self._keep(new, image_hw, features)
            for other, theirs in zip(self._others, others, strict=True):
                other._keep(new, image_hw, theirs)
        stacked = {key: torch.stack([maps[path][key].to(device) for path in paths]) for key in ("patches", "prefix")}
        return Features(**stacked, grid=self.grid_for(image_hw))

    def _make(self, images: Images, image_hw: tuple[int, int]) -> list[Features]:
        """Features of the method, and of the others."""
        if isinstance(self.method, Decomposed):
            others = [other.method for other in self._others if isinstance(other.method, Decomposed)]
            return self.method.read([self.method, *others], images, image_hw)
        return [self.method(images, image_hw)]

    def _keep(self, images: Images, image_hw: tuple[int, int], features: Features) -> dict[Path, dict[str, Tensor]]:
        """Write features, a file per image; return them by path."""
        maps = {}
        with disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        for image, patches, prefix in zip(images, features.patches, features.prefix, strict=True):
            path = self._path(image, image_hw)
            maps[path] = {"patches": patches.contiguous(), "prefix": prefix.contiguous()}
            write_atomic(path, save({key: tensor.cpu() for key, tensor in maps[path].items()}))
        return maps

    def _path(self, image: ImageTensor, image_hw: tuple[int, int]) -> Path:
        digest = hashlib.blake2b(image.contiguous().cpu().numpy().tobytes(), digest_size=16)
        digest.update(f"{tuple(image.shape)} {image_hw}".encode())
        return self._folder / f"{digest.hexdigest()}.safetensors"


def cached(method: Method, folder: str | Path, others: Sequence[Method] = ()) -> Method:
    """The method; `Cached`, with `others` of the same F, where its features are expensive.

    Of a method with position, the features that the position is added to are cached.
    """
    if isinstance(method, WithPosition):
        return method.around(lambda each: cached(each, folder, others))
    expensive = method.cost >= EXPENSIVE and not isinstance(method, Cached)
    return Cached(method, folder, others) if expensive else method


def without_cache(method: Method) -> Method:
    """The method itself, for images that are used once."""
    if isinstance(method, WithPosition):
        return method.around(without_cache)
    return method.method if isinstance(method, Cached) else method


def _innermost(method: Method) -> Method:
    """The method inside a cache, and inside one with position: its features are cached."""
    return _innermost(method.method) if isinstance(method, Cached | WithPosition) else method


def _read(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a file; None where it is missing or damaged: it is then replaced."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        return None
    return tensors if set(tensors) == {"patches", "prefix"} else None
