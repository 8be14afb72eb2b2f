"""From the name of a ViT of timm to the untrained model; nothing is downloaded."""

from typing import Any, TypeAlias

import timm
import torch
from timm.layers.patch_embed import PatchEmbed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import dvt.backbone.micro  # noqa: F401  (registers it in timm)
from dvt.errors import BackboneError
from dvt.runtime import seed_for

PlainVit: TypeAlias = VisionTransformer | Eva
"""The plain ViTs of timm: one sequence of tokens from the patches to the last block."""

_KINDS = "Expected a plain ViT of timm: a VisionTransformer or Eva (DINO, DeiT, CLIP, DINOv2, DINOv3, MAE, EVA02, ...)."


def build_vit(timm_name: str, **architecture: Any) -> PlainVit:
    """The ViT of that name at its native size, untrained, on the CPU, able to take images of any size.

    The weights are random, but the same each time for one architecture. Pooling, its norm and the classifier are left
    out.

    Args:
        timm_name: name of the model in timm.
        architecture: timm options that change the architecture, such as `depth=2`.

    Raises:
        BackboneError: the model is not a plain ViT with square patches and RGB input.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(0, timm_name.partition(".")[0]))  # with or without a tag
        try:
            model = timm.create_model(timm_name, pretrained=False, dynamic_img_size=True, **architecture)
        except TypeError as error:  # the other families do not know dynamic_img_size
            raise BackboneError(f"{timm_name} cannot be used: it does not take images of any size. {_KINDS}") from error
    if not isinstance(model, VisionTransformer | Eva):
        raise BackboneError(f"{timm_name} cannot be used: it is a {type(model).__name__}. {_KINDS}")
    embed = model.patch_embed
    if type(embed) is not PatchEmbed or len(set(embed.patch_size)) > 1 or embed.proj.in_channels != 3:
        raise BackboneError(
            f"{timm_name} cannot be used: it does not cut an RGB image into square patches ({type(embed).__name__})."
            f" {_KINDS}"
        )
    model.reset_classifier(0, "")
    model.fc_norm = nn.Identity()
    return model


def full_name(vit: PlainVit) -> str:
    """The timm name of a ViT with its weights' tag, also where only the architecture was asked for."""
    config: Any = vit.pretrained_cfg
    return ".".join(part for part in (config["architecture"], config["tag"]) if part)
