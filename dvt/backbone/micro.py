"""vit_micro: a small ViT whose weights ship with the project, in timm's registry."""

from pathlib import Path
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

from dvt.shipped import shipped

MICRO = "vit_micro_patch16_224.dvt"
"""Its name in timm, with the tag of its weights."""

default_cfgs = generate_default_cfgs(
    {
        MICRO: {
            "num_classes": 0,
            "input_size": (3, 224, 224),
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "license": "apache-2.0",
        }
    }
)


@register_model
def vit_micro_patch16_224(pretrained: bool = False, **options: Any) -> VisionTransformer:
    """ViT-Ti/16 with half its blocks: 2.8 M parameters, learned absolute positions, a class token."""
    architecture = {"patch_size": 16, "embed_dim": 192, "depth": 6, "num_heads": 3}
    vit: VisionTransformer = build_model_with_cfg(
        VisionTransformer,
        "vit_micro_patch16_224",
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        **(architecture | options),
    )
    return vit


def embedded_weights() -> Path:
    """The file of its weights."""
    return shipped("checkpoints") / "vit_micro" / "weights.safetensors"
