"""The models that several verbs load."""

from typing import TYPE_CHECKING

from dvt.backbone.config import BackboneConfig
from dvt.errors import ConfigError

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone
    from dvt.denoiser.denoised import DenoisedBackbone


def load_cleaned(wanted: BackboneConfig, weights: str, device: str) -> "DenoisedBackbone | Backbone":
    """A ViT with a denoiser behind it, or a distilled one, at the layer and norm that the weights were trained for.

    Args:
        wanted: the options of the ViT.
        weights: a folder, file or name, as `dvt.load_denoised` takes it.
        device: where to.

    Raises:
        ConfigError: the options ask for another layer or norm.
        WeightsError: the weights cannot be had or read, or belong to another backbone.
    """
    from dvt.weights.build import load_denoised

    model, _ = load_denoised(
        wanted.timm or wanted.name,
        weights=weights,
        image_size=tuple(wanted.image_size) if isinstance(wanted.image_size, list) else wanted.image_size,
        stride=wanted.stride,
        device=device,
        precision=wanted.precision,
        backbone_weights=wanted.weights,
    )
    if wanted.layer not in (-1, model.layer) or (model.norm and not wanted.norm):
        raise ConfigError(
            f"{weights} was trained on layer {model.layer} {'after' if model.norm else 'before'} the final norm: leave"
            " out backbone.layer and backbone.norm."
        )
    return model
