"""Find and read images: a spec -> a list of files, a file -> an RGB tensor.

`find_images` turns a file, folder, glob, list file or sequence of those into `ImageFile`s with stable keys.
`read_image` turns a file, PIL image, array or tensor into a (3, height, width) float32 tensor in [0, 1].
`video.Video` reads the frames of a video.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dvt.images.formats import IMAGE_EXTENSIONS as IMAGE_EXTENSIONS
from dvt.images.formats import MAX_PIXELS as MAX_PIXELS

if TYPE_CHECKING:
    from dvt.images.read import ImageLike as ImageLike
    from dvt.images.read import read_image as read_image
    from dvt.images.sources import ImageFile as ImageFile
    from dvt.images.sources import find_images as find_images

_MODULES = {
    "ImageFile": "dvt.images.sources",
    "ImageLike": "dvt.images.read",
    "find_images": "dvt.images.sources",
    "read_image": "dvt.images.read",
}
"""Imported on first use: command line options need `MAX_PIXELS` without torch."""

__all__ = ["IMAGE_EXTENSIONS", "MAX_PIXELS", *_MODULES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'dvt.images' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_MODULES[name]), name)
