"""Features that were worked out once are kept: an evaluation that was stopped goes on, the next one is quick."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from dvt.backbone.features import Features
from dvt.files import disk_errors, write_atomic
from dvt.grid import PatchGrid
from dvt.methods.method import Method, Pictures
from dvt.shapes import ImageTensor
from dvt.version import __version__


class Cached:
    """A method whose features are kept in a folder, one file per picture, size and method.

    A file is found by the content of the picture, not by its name; it is written whole or not at all. The folder may
    be deleted at any time. Files of another version of dvt are not taken.
    """

    def __init__(self, method: Method, folder: str | Path):
        """Keep the features of a method.

        Args:
            method: the method.
            folder: where to; made where it is not there.
        """
        self._method = method
        self._about = json.dumps({"dvt": __version__, **method.fingerprint}, sort_keys=True, allow_nan=False)
        self._folder = Path(folder).expanduser() / hashlib.sha256(self._about.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """The method's."""
        return self._method.name

    @property
    def num_channels(self) -> int:
        """C."""
        return self._method.num_channels

    @property
    def passes(self) -> int:
        """The method's, for a picture that is new."""
        return self._method.passes

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The method's."""
        return self._method.fingerprint

    def grid_for(self, image_hw: tuple[int, int]) -> PatchGrid:
        """The patches of a picture looked at in that size."""
        return self._method.grid_for(image_hw)

    def __call__(self, pictures: Pictures, image_hw: tuple[int, int]) -> Features:
        """Features of pictures: those that are there from the folder, the others by the method."""
        paths = [self._path(picture, image_hw) for picture in pictures]
        found = [_read(path) for path in paths]
        new = [number for number, each in enumerate(found) if each is None]
        grid = self.grid_for(image_hw)
        if new:
            features = self._method([pictures[number] for number in new], image_hw)
            with disk_errors(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
            for number, patches, prefix in zip(new, features.patches, features.prefix, strict=True):
                found[number] = {"patches": patches.contiguous(), "prefix": prefix.contiguous()}
                write_atomic(paths[number], save(_on_cpu(found[number])))
        maps = [each for each in found if each is not None]
        device = pictures[0].device if not new else features.patches.device
        stacked = {key: torch.stack([each[key].to(device) for each in maps]) for key in ("patches", "prefix")}
        return Features(**stacked, grid=grid)

    def _path(self, picture: ImageTensor, image_hw: tuple[int, int]) -> Path:
        digest = hashlib.blake2b(picture.contiguous().cpu().numpy().tobytes(), digest_size=16)
        digest.update(f"{tuple(picture.shape)} {image_hw}".encode())
        return self._folder / f"{digest.hexdigest()}.safetensors"


def without_cache(method: Method) -> Method:
    """The method itself, for pictures that are not looked at twice."""
    return method._method if isinstance(method, Cached) else method


def _read(path: Path) -> dict[str, Tensor] | None:
    """What a file holds; None where there is none, or a damaged one, which will be replaced."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        return None
    return tensors if set(tensors) == {"patches", "prefix"} else None


def _on_cpu(tensors: dict[str, Tensor] | None) -> dict[str, Tensor]:
    assert tensors is not None
    return {key: tensor.cpu() for key, tensor in tensors.items()}
