"""load_backbone: from a name to a frozen ViT."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dvt.backbone.backbone import Backbone, Readout
from dvt.backbone.build import Vit, build_vit
from dvt.backbone.catalogue import lookup
from dvt.backbone.config import DEFAULT_BACKBONE, BackboneConfig
from dvt.backbone.weights import RANDOM, load_weights
from dvt.grid import image_hw
from dvt.numbers import takes_numbers
from dvt.paths import expand_home
from dvt.runtime import Precision, check_precision, pick_device
from dvt.torch_state import own_torch_state


@takes_numbers
@own_torch_state()
def load_backbone(
    name: str = DEFAULT_BACKBONE,
    weights: str | Path | Mapping[str, Tensor] | None = None,
    image_size: int | Sequence[int] | None = None,
    stride: int | None = None,
    layer: int = -1,
    norm: bool = True,
    device: str | torch.device = "auto",
    precision: str = "fp32",
) -> Backbone:
    """Load a frozen ViT.

    Args:
        name: a catalogue name (`dvt.backbone.catalogue.CATALOGUE`), or the name of any plain ViT of timm.
        weights: None for the pretrained weights of the Hugging Face hub; a local `.safetensors`, `.pth`, `.pt` or
            `.bin` file, or tensors by name, in a layout of `dvt.weights.layouts` (timm, the model's authors, their
            trainings, transformers, ...); `random` for an untrained model.
        image_size: default size of an image in pixels: one number, or height and width. None: the catalogue's, or for
            a timm name the native size of the model.
        stride: pixels between neighbouring patches, 1..patch size, for denser features. None: the patch size.
        layer: index of the block whose output is taken; negative numbers count from the last.
        norm: whether to apply the ViT's final norm to it.
        device: `auto` (cuda, else mps, else cpu) or a device of this machine.
        precision: `fp32`, `fp16`, `bf16` or `fp64`, of the forward pass and of the features.

    Raises:
        ConfigError: an image size, device or precision that does not exist.
        BackboneError: no such model, block or norm; not a plain ViT.
        GeometryError: image size, patch size and stride do not go together.
        WeightsError: the weights cannot be downloaded or read, or do not fit.

    Examples:
        >>> backbone = load_backbone("vit_micro", device="cpu", stride=8)
        >>> str(backbone.grid)
        '27 x 27 patches of 16 px every 8 px'
    """
    place, number_format = pick_device(device), Precision.parse(precision)
    check_precision(number_format, place)
    row = lookup(name)
    vit = build_vit(row.timm)
    image_hw = _image_hw(row.image_size if image_size is None else image_size, vit)
    readout = Readout.of(vit, image_hw, stride, layer, norm)  # before anything is downloaded
    weights_hash = load_weights(vit, weights)
    return Backbone(
        vit, readout, name=name, weights_hash=weights_hash, weights_file=_file_of(weights), precision=number_format
    ).to(place)


def load_from_config(config: BackboneConfig, device: str | torch.device = "auto") -> Backbone:
    """Load the frozen ViT that a configuration asks for.

    Raises:
        ConfigError, BackboneError, GeometryError, WeightsError: as `load_backbone`.
    """
    return load_backbone(
        config.timm or config.name,
        weights=config.weights,
        image_size=config.image_size,
        stride=config.stride,
        layer=config.layer,
        norm=config.norm,
        device=device,
        precision=config.precision,
    )


def _file_of(weights: str | Path | Mapping[str, Tensor] | None) -> str | None:
    if weights is None or isinstance(weights, Mapping):
        return None
    return RANDOM if weights == RANDOM else str(expand_home(weights).absolute())


def _image_hw(image_size: Any, vit: Vit) -> tuple[int, int]:
    if image_size is not None:
        return image_hw(image_size)
    config: Any = vit.pretrained_cfg
    _, height, width = config["input_size"]
    return height, width
