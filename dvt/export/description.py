"""What an exported model is: the text that travels with it in every format."""

from dataclasses import asdict, replace
from typing import Any

from dvt.backbone.backbone import Backbone
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.grid import PatchGrid
from dvt.version import __version__
from dvt.weights.info import ModelInfo


def describe(model: Backbone | DenoisedBackbone, grid: PatchGrid) -> ModelInfo:
    """What a backbone is when it is exported; `architecture` is that of its denoiser, empty where it has none.

    Args:
        model: the backbone.
        grid: the patches at the size that is exported.
    """
    denoiser = model.denoiser if isinstance(model, DenoisedBackbone) else None
    backbone = model.backbone if isinstance(model, DenoisedBackbone) else model
    vit_facts: Any = backbone.vit.pretrained_cfg
    return ModelInfo(
        kind="fixed_size",
        spec=replace(backbone.spec, grid=grid),
        architecture=asdict(denoiser.config) if denoiser else {},
        training={},
        metrics={},
        base_license=vit_facts.get("license"),
        code_version=__version__,
    )
