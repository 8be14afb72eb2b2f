"""Options of the backbone. A light module, imported to print help."""

from dataclasses import dataclass
from typing import Any, Final

from dvt.backbone.names import SOURCES, TIMM, joined_name
from dvt.errors import ConfigError

DEFAULT_BACKBONE: Final = "dinov2_base"
"""The ViT where neither the user nor the weights name one."""


@dataclass(kw_only=True, slots=True)
class BackboneConfig:
    """Which ViT, with which weights, and where its features are taken."""

    name: str = DEFAULT_BACKBONE
    """Catalogue name of the ViT, or its name in another source."""
    source: str = TIMM
    """Where it comes from: timm, transformers, open_clip, torch_hub or module."""
    timm: str | None = None
    """Any plain ViT of timm by its timm name, such as vit_small_patch16_224.dino; used instead of name."""
    weights: str | None = None
    """Local weights file (.safetensors, .pth, .pt, .bin), or random (untrained); left out: downloaded from the hub."""
    image_size: Any = None
    """Size in pixels of a view: one number, or [height,width]; left out: the catalogue's, or the model's own."""
    stride: int | None = None
    """Pixels between neighbouring patches, for denser features; left out: the patch size."""
    layer: Any = -1
    """Block whose output is taken, or several, as [2,5,8,11]; negative numbers count from the last."""
    norm: bool = True
    """Apply the ViT's final norm."""
    precision: str = "fp32"
    """Number format of the forward pass: fp32, fp16, bf16 or fp64."""
    mean: Any = None
    """Mean of the colours, [0.5,0.5,0.5], in [0, 1]; left out: what the source says."""
    std: Any = None
    """Their standard deviation; left out: what the source says."""
    trust_remote_code: bool = False
    """Run the code of a repository, for transformers and torch_hub."""

    @property
    def full_name(self) -> str:
        """The name of the ViT with its source.

        Raises:
            ConfigError: the source has no name, or the name is one of timm.
            BackboneError: there is no such source.
        """
        check_source(self.source, None if self.name == DEFAULT_BACKBONE else self.name, self.timm)
        return self.timm or joined_name(self.source, self.name)


def check_source(source: str, name: str | None, timm: str | None) -> None:
    """Refuse a source that would have no effect.

    Raises:
        ConfigError: no name is given for it, or one of timm.
    """
    if source == TIMM or source not in SOURCES:
        return
    if timm is not None:
        raise ConfigError(f"backbone.source={source} and backbone.timm={timm}: give backbone.name, not timm.")
    if name is None:
        raise ConfigError(f"backbone.source={source} needs backbone.name: {SOURCES[source]}.")


def blocks_of(layer: Any) -> list[int]:
    """The blocks of `backbone.layer`, as they are given.

    Raises:
        ConfigError: neither the number of a block nor a list of them.
    """
    given = [layer] if isinstance(layer, int) else layer
    if not isinstance(given, list | tuple) or not given or any(type(each) is not int for each in given):
        raise ConfigError(f"backbone.layer={layer!r}: give the number of a block, or several: [2,5,8,11].")
    return list(given)
