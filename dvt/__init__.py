"""Clean Vision Transformer features: raw = clean + artifact + residual.

backbone = dvt.load_backbone("dinov2_base")
result = dvt.decompose("cat.jpg", backbone)     # .raw .clean .artifact .residual, each (H, W, C)
model, preprocess = dvt.load_denoised("dinov2_base", weights="voc_denoised")     # clean features in one forward pass
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dvt.version import __version__ as __version__

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone as Backbone
    from dvt.backbone.catalogue import list_backbones as list_backbones
    from dvt.backbone.load import load_backbone as load_backbone
    from dvt.backbone.wrap import wrap_backbone as wrap_backbone
    from dvt.decomposition.quality import qualities as qualities
    from dvt.decomposition.result import Decomposition as Decomposition
    from dvt.decomposition.run import decompose as decompose
    from dvt.decomposition.run_list import decompose_list as decompose_list
    from dvt.denoiser.denoised import DenoisedBackbone as DenoisedBackbone
    from dvt.denoiser.network import Denoiser as Denoiser
    from dvt.denoiser.train import train_denoiser as train_denoiser
    from dvt.diagnosis.diagnose import diagnose as diagnose
    from dvt.distillation.distill import distill as distill
    from dvt.distillation.stored import distill_from_store as distill_from_store
    from dvt.errors import DvtError as DvtError
    from dvt.evaluation.run import evaluate as evaluate
    from dvt.export.run import export_model as export_model
    from dvt.export.weights_folder import load_fixed_size as load_fixed_size
    from dvt.grid import PatchGrid as PatchGrid
    from dvt.images.read import read_image as read_image
    from dvt.images.sources import find_images as find_images
    from dvt.runtime import seed_for as seed_for
    from dvt.store.reader import FeatureStore as FeatureStore
    from dvt.training.run import Trained as Trained
    from dvt.weights.build import load_denoised as load_denoised
    from dvt.weights.build import load_denoiser as load_denoiser
    from dvt.weights.resolve import list_denoisers as list_denoisers

_MODULES = {
    "Backbone": "dvt.backbone.backbone",
    "Decomposition": "dvt.decomposition.result",
    "DenoisedBackbone": "dvt.denoiser.denoised",
    "Denoiser": "dvt.denoiser.network",
    "DvtError": "dvt.errors",
    "FeatureStore": "dvt.store.reader",
    "Trained": "dvt.training.run",
    "PatchGrid": "dvt.grid",
    "decompose": "dvt.decomposition.run",
    "decompose_list": "dvt.decomposition.run_list",
    "diagnose": "dvt.diagnosis.diagnose",
    "distill": "dvt.distillation.distill",
    "distill_from_store": "dvt.distillation.stored",
    "evaluate": "dvt.evaluation.run",
    "export_model": "dvt.export.run",
    "find_images": "dvt.images.sources",
    "list_backbones": "dvt.backbone.catalogue",
    "list_denoisers": "dvt.weights.resolve",
    "load_backbone": "dvt.backbone.load",
    "load_denoised": "dvt.weights.build",
    "load_denoiser": "dvt.weights.build",
    "load_fixed_size": "dvt.export.weights_folder",
    "qualities": "dvt.decomposition.quality",
    "read_image": "dvt.images.read",
    "seed_for": "dvt.runtime",
    "train_denoiser": "dvt.denoiser.train",
    "wrap_backbone": "dvt.backbone.wrap",
}
"""Public names and their modules; imported on first use, so that `dvt --help` need not wait for torch."""

__all__ = [*_MODULES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'dvt' has no attribute {name!r}; it has {', '.join(sorted(_MODULES))}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
