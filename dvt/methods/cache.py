"""Cached: a method whose features are kept on disk."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from dvt.backbone.features import Features
from dvt.files import disk_errors, write_atomic
from dvt.grid import PatchGrid
from dvt.methods.method import Images, Method, fingerprint
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

    def __init__(self, method: Method, folder: str | Path):
        """Keep the features of `method` in `folder`, which is made when the first features are written."""
        self.method, self.name, self.cost = method, method.name, method.cost
        self.spec: FeatureSpec = method.spec
        self.options: Mapping[str, Any] = method.options
        about = json.dumps({"dvt": __version__, **fingerprint(method)}, sort_keys=True, allow_nan=False)
        self._folder = Path(folder).expanduser() / hashlib.sha256(about.encode()).hexdigest()[:16]

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches at an image size (height, width)."""
        return self.method.grid_for(image_hw)

    def __call__(self, images: Images, image_hw: tuple[int, int]) -> Features:
        """Features of images: read where they are in the folder, made by the method where not."""
        paths = [self._path(image, image_hw) for image in images]
        maps = {path: found for path in paths if (found := _read(path)) is not None}
        new = [number for number, path in enumerate(paths) if path not in maps]
        device = images[0].device
        if new:
            features = self.method([images[number] for number in new], image_hw)
            device = features.patches.device
            with disk_errors(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
            for number, patches, prefix in zip(new, features.patches, features.prefix, strict=True):
                tensors = {"patches": patches.contiguous(), "prefix": prefix.contiguous()}
                write_atomic(paths[number], save({key: tensor.cpu() for key, tensor in tensors.items()}))
                maps[paths[number]] = tensors
        stacked = {key: torch.stack([maps[path][key].to(device) for path in paths]) for key in ("patches", "prefix")}
        return Features(**stacked, grid=self.grid_for(image_hw))

    def _path(self, image: ImageTensor, image_hw: tuple[int, int]) -> Path:
        digest = hashlib.blake2b(image.contiguous().cpu().numpy().tobytes(), digest_size=16)
        digest.update(f"{tuple(image.shape)} {image_hw}".encode())
        return self._folder / f"{digest.hexdigest()}.safetensors"


def cached(method: Method, folder: str | Path) -> Method:
    """The method; `Cached` where its features are expensive."""
    return Cached(method, folder) if method.cost >= EXPENSIVE and not isinstance(method, Cached) else method


def without_cache(method: Method) -> Method:
    """The method itself, for images that are used once."""
    return method.method if isinstance(method, Cached) else method


def _read(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a file; None where it is missing or damaged: it is then replaced."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        return None
    return tensors if set(tensors) == {"patches", "prefix"} else None
