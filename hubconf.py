"""Entry points of torch.hub: `torch.hub.load("<owner>/<repository>", "dinov2_vitb14_dvt")`.

Each gives a frozen ViT with clean features: `model(images) -> Features(patches, prefix, grid)` for (B, 3, y, x) RGB in
[0, 1], not normalised; `model.preprocess("cat.jpg")` makes such an image. Needs only torch, torchvision, timm and
their dependencies.
"""

from typing import Any as _Any

from dvt.weights.build import load_denoised as _load_denoised

dependencies = ["torch", "timm"]


def denoised(backbone: str | None = None, weights: str = "voc_denoised", **options: _Any) -> _Any:
    """A ViT with clean features.

    Args:
        backbone: a catalogue name of dvt, or the name of a plain ViT of timm; None: the one that the weights were made
            for, or dinov2_base.
        weights: a recipe of the paper's authors (voc_denoised, imgnet_denoised, voc_distilled, imgnet_distilled), a
            file, a model folder, or `owner/name` on the Hugging Face hub.
        options: image_size, stride, device, precision, backbone_weights of `dvt.load_denoised`.
    """
    return _load_denoised(backbone, weights, **options)[0]


def dinov2_vits14_dvt(**options: _Any) -> _Any:
    """DINOv2 ViT-S/14 with the authors' denoiser (VOC)."""
    return denoised("dinov2_small", **options)


def dinov2_vitb14_dvt(**options: _Any) -> _Any:
    """DINOv2 ViT-B/14 with the authors' denoiser (VOC)."""
    return denoised("dinov2_base", **options)


def dinov2_vitl14_dvt(**options: _Any) -> _Any:
    """DINOv2 ViT-L/14 with the authors' denoiser (VOC)."""
    return denoised("dinov2_large", **options)


def dinov2_vitb14_reg_dvt(**options: _Any) -> _Any:
    """DINOv2 ViT-B/14 with registers and the authors' denoiser (VOC)."""
    return denoised("dinov2_reg_base", **options)


def dino_vitb16_dvt(**options: _Any) -> _Any:
    """DINO ViT-B/16 with the authors' denoiser (VOC)."""
    return denoised("dino_base", **options)
