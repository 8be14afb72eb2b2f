"""Small ViTs as other libraries make them, and the folders they are loaded from."""

from types import SimpleNamespace

import torch

TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50, "intermediate_size": 32}
SHAPE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 14, "image_size": 56}
MLP = {"intermediate_size": 256}

TINY_CLIP = "dvt-tiny"
"""A model of OpenCLIP with two narrow blocks, once `tiny_clip` has made it known."""

HUBCONF = """
import timm
import torch


def small_vit(pretrained=False):
    vit = timm.create_model("{name}", depth=2, embed_dim=64, num_heads=4, dynamic_img_size=True, num_classes=0)
    if pretrained:
        vit.load_state_dict(torch.load("{weights}"))
    return vit


def convolution(pretrained=False):
    return torch.nn.Conv2d(3, 4, 8, stride=8)


def number(pretrained=False):
    return 3
"""


def far_from_zero(network):
    """Give a network weights that matter, the same each time."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return network.eval()


def tiny_clip(folder):
    """A small model of OpenCLIP; its config is written into the folder."""
    import json

    import open_clip

    vision = {"image_size": 224, "layers": 2, "width": 64, "patch_size": 32, "head_width": 16}
    text = {"context_length": 7, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    (folder / f"{TINY_CLIP}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{TINY_CLIP}.json")
    torch.manual_seed(0)
    return far_from_zero(open_clip.create_model(TINY_CLIP, load_weights=False))


def kinds():
    """Name of the class -> (class, config, timm name of the same architecture or None) of transformers."""
    import transformers as hf

    siglip = SHAPE | MLP | {"hidden_act": "gelu"}  # timm's; that of transformers is an approximation of it by default
    vision = {"vision_config": siglip, "text_config": TEXT}
    clip_text = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    any_size = {name: value for name, value in SHAPE.items() if name != "image_size"} | MLP | {"num_patches": 16}
    return {
        "Dinov2Model": (hf.Dinov2Model, hf.Dinov2Config(**SHAPE), "vit_small_patch14_dinov2"),
        "Dinov2WithRegistersModel": (
            hf.Dinov2WithRegistersModel, hf.Dinov2WithRegistersConfig(**SHAPE), "vit_small_patch14_reg4_dinov2"
        ),
        "DINOv3ViTModel": (
            hf.DINOv3ViTModel, hf.DINOv3ViTConfig(**SHAPE, **MLP, num_register_tokens=4, key_bias=False), None
        ),
        "ViTModel": (hf.ViTModel, hf.ViTConfig(**SHAPE, **MLP), "vit_small_patch16_224"),
        "ViTForImageClassification": (
            hf.ViTForImageClassification, hf.ViTConfig(**SHAPE, **MLP, num_labels=3), "vit_small_patch16_224"
        ),
        "DeiTModel": (hf.DeiTModel, hf.DeiTConfig(**SHAPE, **MLP), "deit_tiny_distilled_patch16_224"),
        "ViTMAEModel": (hf.ViTMAEModel, hf.ViTMAEConfig(**SHAPE, **MLP), "vit_small_patch16_224"),
        "IJepaModel": (hf.IJepaModel, hf.IJepaConfig(**SHAPE, **MLP), None),
        "CLIPVisionModel": (
            hf.CLIPVisionModel, hf.CLIPVisionConfig(**SHAPE, **MLP), "vit_base_patch16_clip_quickgelu_224"
        ),
        "CLIPModel": (
            hf.CLIPModel,
            hf.CLIPConfig(vision_config=SHAPE | MLP, text_config=TEXT | clip_text, projection_dim=16),
            "vit_base_patch16_clip_quickgelu_224",
        ),
        "SiglipVisionModel": (
            hf.SiglipVisionModel, hf.SiglipVisionConfig(**siglip), "vit_base_patch16_siglip_gap_224"
        ),
        "SiglipModel": (hf.SiglipModel, hf.SiglipConfig(**vision), "vit_base_patch16_siglip_gap_224"),
        "Siglip2VisionModel": (hf.Siglip2VisionModel, hf.Siglip2VisionConfig(**any_size), None),
    }  # fmt: skip


def saved(kind, folder):
    """A model of transformers in a folder -> path, network, timm name."""
    make, config, timm_name = kinds()[kind]
    network = far_from_zero(make(config))
    network.save_pretrained(folder)
    return SimpleNamespace(folder=folder, network=network, timm=timm_name)
