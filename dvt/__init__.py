"""Clean Vision Transformer features: raw = clean + artifact + residual.

backbone = dvt.load_backbone("dinov2_base")
result = dvt.decompose("cat.jpg", backbone)     # .raw .clean .artifact .residual, each (H, W, C)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dvt.version import __version__ as __version__

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone as Backbone
    from dvt.backbone.catalogue import list_backbones as list_backbones
    from dvt.backbone.load import load_backbone as load_backbone
    from dvt.decomposition.quality import qualities as qualities
    from dvt.decomposition.result import DecomposedImage as DecomposedImage
    from dvt.decomposition.run import decompose as decompose
    from dvt.decomposition.run_list import decompose_list as decompose_list
    from dvt.errors import DvtError as DvtError
    from dvt.grid import PatchGrid as PatchGrid
    from dvt.images.read import read_image as read_image
    from dvt.images.sources import find_images as find_images
    from dvt.runtime import seed_for as seed_for
    from dvt.store.reader import FeatureStore as FeatureStore

_HOMES = {
    "Backbone": "dvt.backbone.backbone",
    "DecomposedImage": "dvt.decomposition.result",
    "DvtError": "dvt.errors",
    "FeatureStore": "dvt.store.reader",
    "PatchGrid": "dvt.grid",
    "decompose": "dvt.decomposition.run",
    "decompose_list": "dvt.decomposition.run_list",
    "find_images": "dvt.images.sources",
    "list_backbones": "dvt.backbone.catalogue",
    "load_backbone": "dvt.backbone.load",
    "qualities": "dvt.decomposition.quality",
    "read_image": "dvt.images.read",
    "seed_for": "dvt.runtime",
}
"""Public names and where they live; imported on first use, so that `dvt --help` need not wait for torch."""

__all__ = [*_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dvt' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
