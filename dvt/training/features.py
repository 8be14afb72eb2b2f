"""LearntFeatures: which features of which ViT a run learns. A checkpoint keeps it and can be loaded by that."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

_KEY = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class LearntFeatures:
    """The reading of a ViT that a denoiser or a distilled ViT is for."""

    backbone: str
    """Full timm name of the ViT."""
    weights_hash: str
    """Hash of its weights."""
    layer: int
    """Block whose output is read, counted from 0."""
    norm: bool
    """Whether the final norm is applied to it."""
    image_hw: tuple[int, int]
    """Height and width of an image in pixels."""
    stride: int
    """Pixels between neighbouring patches."""

    def to_settings(self) -> dict[str, Any]:
        """Plain JSON, as the settings of a run hold it."""
        return {_KEY: asdict(self) | {"image_hw": list(self.image_hw)}}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "LearntFeatures | None":
        """What the settings of a run say; None where they do not say all of it."""
        found = settings.get(_KEY)
        if not isinstance(found, Mapping) or {field.name for field in fields(cls)} != set(found):
            return None
        return cls(**{**found, "image_hw": tuple(found["image_hw"])})
