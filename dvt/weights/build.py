"""load_denoised: a ViT with clean features in one line."""

from dataclasses import replace
from pathlib import Path

from dvt.backbone.backbone import Backbone
from dvt.backbone.build import VitFacts, facts_of
from dvt.backbone.load import load_backbone
from dvt.backbone.preprocess import Preprocess
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.denoiser.network import Denoiser
from dvt.errors import ConfigError, WeightsError
from dvt.spec import FeatureSpec
from dvt.weights.info import ModelInfo
from dvt.weights.recognise import Weights, denoiser_info, denoiser_of, distilled_info, read
from dvt.weights.resolve import find_for

DEFAULT_BACKBONE = "dinov2_base"
"""The ViT that is meant where nothing is said."""


def load_denoised(
    backbone: str | None = None,
    weights: str | Path = "voc_denoised",
    *,
    image_size: int | tuple[int, int] | None = None,
    stride: int | None = None,
    device: str = "auto",
    precision: str = "fp32",
    backbone_weights: str | Path | None = None,
) -> tuple[DenoisedBackbone | Backbone, Preprocess]:
    """Load a ViT with clean features: with a denoiser behind it, or distilled.

    Args:
        backbone: a catalogue name, or the name of a plain ViT of timm; None: the one that the weights were made for,
            and dinov2_base where they do not say or a recipe has several.
        weights: a recipe of the paper's authors (voc_denoised, imgnet_denoised, voc_distilled, imgnet_distilled),
            anything that `load_denoiser` takes, or a distilled ViT as file or model folder.
        image_size: default size of an image in pixels, one number or height and width; None: as it was trained.
        stride: pixels between neighbouring patches; None: as it was trained.
        device: `auto` (cuda, else mps, else cpu) or a device of this machine.
        precision: `fp32`, `fp16` or `bf16`.
        backbone_weights: a file with the ViT's own weights, or `random`; None: those of the hub.

    Returns:
        The model, `model(images) -> Features` for (B, 3, y, x) RGB in [0, 1]; and what makes such a picture of a path,
        a PIL image or a tensor.

    Raises:
        WeightsError: the weights cannot be had or read, or belong to another backbone.
        BackboneError: there is no such backbone.
        ConfigError: a device, precision or image size that does not exist.
        GeometryError: image size, patch size and stride do not go together.
    """
    named = facts_of(backbone or DEFAULT_BACKBONE)
    found = read(find_for(weights, named.name))
    vit = named if backbone is not None else facts_of(found.backbone or named.name)
    denoiser = None if found.kind == "distilled" else denoiser_of(found)
    info = _info(found, denoiser, vit)
    model = load_backbone(
        backbone or vit.name,
        weights=backbone_weights if denoiser is not None else _only(found, backbone_weights),
        image_size=info.spec.grid.image_hw if image_size is None else image_size,
        stride=info.spec.grid.stride if stride is None else stride,
        layer=info.spec.layer,
        norm=info.spec.norm,
        device=device,
        precision=precision,
    )
    return _joined(found, model, denoiser, info), model.preprocess


def _info(weights: Weights, denoiser: Denoiser | None, vit: VitFacts) -> ModelInfo:
    """What the weights are; where they do not say which ViT they belong to, the one that the person named.

    Raises:
        WeightsError: they belong to another backbone.
    """
    if denoiser is not None and denoiser.info is None:
        denoiser.info = denoiser_info(denoiser, vit, weights)
    info = weights.info if denoiser is None else denoiser.info
    if info is None:
        info = distilled_info(facts_of(weights.backbone or vit.name), weights)
    _check(weights, info.spec, replace(info.spec, backbone=vit.name, channels=vit.num_channels))
    return info


def _only(student: Weights, backbone_weights: str | Path | None) -> Path:
    """The file of a distilled ViT; no other weights may be given beside it."""
    if backbone_weights is not None:
        raise ConfigError(
            f"backbone_weights={backbone_weights} and {student.source}, which is a whole ViT with weights of its own:"
            " leave one of them out."
        )
    return student.path


def _joined(
    weights: Weights, model: Backbone, denoiser: Denoiser | None, info: ModelInfo
) -> DenoisedBackbone | Backbone:
    """The ViT with its denoiser, which was trained on the features of these very weights.

    Raises:
        WeightsError: the ViT has other weights.
    """
    if denoiser is None:
        return model
    _check(weights, info.spec, replace(info.spec, weights_hash=model.weights_hash))
    return DenoisedBackbone(model, denoiser)


def _check(weights: Weights, made_for: FeatureSpec, given: FeatureSpec) -> None:
    """Compare what the weights were made for with what is there.

    Raises:
        WeightsError: some setting differs; each is named with both values.
    """
    if faults := made_for.differences(given, "weights", "backbone"):
        lines = "".join(f"\n  {fault}" for fault in faults)
        raise WeightsError(
            f"{weights.source} was made for another backbone:{lines}\n"
            "Give the backbone, and its weights (backbone_weights=...), that it was trained with."
        )
