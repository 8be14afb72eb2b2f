"""load_backbone: from a name to a frozen ViT."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dvt.backbone.backbone import Backbone, Readout
from dvt.backbone.catalogue import CATALOGUE
from dvt.backbone.colours import with_colours, with_colours_hash
from dvt.backbone.config import DEFAULT_BACKBONE, BackboneConfig
from dvt.backbone.names import TIMM, joined_name, split_name
from dvt.backbone.reader import PLAIN, VitFacts
from dvt.backbone.vit import make_reader
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
    layer: int | Sequence[int] = -1,
    norm: bool = True,
    device: str | torch.device = "auto",
    precision: str = "fp32",
    *,
    source: str = TIMM,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    trust_remote_code: bool = False,
    made_from: Mapping[str, Any] | None = None,
) -> Backbone:
    """Load a frozen ViT.

    Args:
        name: a catalogue name (`dvt.backbone.catalogue.CATALOGUE`), the name of any plain ViT of timm, or a name in
            another source, with the source in front (`transformers:facebook/dinov2-small`) or in `source`.
        weights: None for the pretrained weights of the source; a local `.safetensors`, `.pth`, `.pt` or `.bin` file, or
            tensors by name, for timm in a layout of `dvt.weights.layouts` (timm, the model's authors, their trainings,
            transformers, ...), for another source by its own names; `random` for an untrained model.
        image_size: default size of an image in pixels: one number, or height and width. None: the catalogue's, or for
            a timm name the native size of the model.
        stride: pixels between neighbouring patches, 1..patch size, for denser features. None: the patch size.
        layer: index of the block whose output is taken, or of several: their features stand side by side in the
            channels. Negative numbers count from the last.
        norm: whether to apply the ViT's final norm to it.
        device: `auto` (cuda, else mps, else cpu) or a device of this machine.
        precision: `fp32`, `fp16`, `bf16` or `fp64`, of the forward pass and of the features.
        source: `timm`, `transformers`, `open_clip`, `torch_hub` or `module` (`dvt.backbone.names.SOURCES`).
        mean: subtracted from the colours, which are in [0, 1]; None: what the source says.
        std: divides them afterwards; None: what the source says.
        trust_remote_code: run the code of a repository, for transformers and torch.hub.
        made_from: what a ViT of another source is built from besides its name, as a model folder holds it; None: asks
            the source.

    Raises:
        ConfigError: an image size, device or precision that does not exist.
        BackboneError: no such source, model, block or norm; no patch tokens; a library that is not installed.
        GeometryError: image size, patch size and stride do not go together.
        WeightsError: the weights cannot be downloaded or read, or do not fit.

    Examples:
        >>> backbone = load_backbone("vit_micro", device="cpu", stride=8)
        >>> str(backbone.grid)
        '27 x 27 patches of 16 px every 8 px'
    """
    place, number_format = pick_device(device), Precision.parse(precision)
    check_precision(number_format, place)
    full_name = joined_name(source, name)
    reader = make_reader(full_name, trust_remote_code=trust_remote_code, made_from=made_from)
    own_colours = (reader.facts.mean, reader.facts.std)
    known = made_from or {}
    reader.facts = with_colours(
        reader.facts, known.get("mean") if mean is None else mean, known.get("std") if std is None else std
    )
    reader.recoloured = (reader.facts.mean, reader.facts.std) != own_colours
    readout = Readout.of(reader.facts, _image_hw(image_size, full_name, reader.facts), stride, layer, norm)
    weights_hash = load_weights(reader, weights)  # last: it may download
    implied = PLAIN if split_name(full_name)[0] == "module" else own_colours  # of a module it is code that says them
    if (reader.facts.mean, reader.facts.std) != implied:
        weights_hash = with_colours_hash(weights_hash, reader.facts)
    return Backbone(
        reader,
        readout,
        name=name if source == TIMM else full_name,
        weights_hash=weights_hash,
        weights_file=_file_of(weights),
        precision=number_format,
    ).to(place)


def load_from_config(config: BackboneConfig, device: str | torch.device = "auto") -> Backbone:
    """Load the frozen ViT that a configuration asks for.

    Raises:
        ConfigError, BackboneError, GeometryError, WeightsError: as `load_backbone`.
    """
    return load_backbone(
        config.full_name,
        weights=config.weights,
        image_size=config.image_size,
        stride=config.stride,
        layer=config.layer,
        norm=config.norm,
        device=device,
        precision=config.precision,
        mean=config.mean,
        std=config.std,
        trust_remote_code=config.trust_remote_code,
    )


def _file_of(weights: str | Path | Mapping[str, Tensor] | None) -> str | None:
    if weights is None or isinstance(weights, Mapping):
        return None
    return RANDOM if weights == RANDOM else str(expand_home(weights).absolute())


def _image_hw(image_size: Any, full_name: str, facts: VitFacts) -> tuple[int, int]:
    if image_size is not None:
        return image_hw(image_size)
    row = CATALOGUE.get(full_name)
    return facts.native_hw if row is None or row.image_size is None else (row.image_size, row.image_size)
