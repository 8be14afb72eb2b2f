"""The ViT of `dvt train` and `dvt distill`: a store names it, and the options of the command must agree."""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from dvt.backbone.config import BackboneConfig, blocks_of, check_source
from dvt.backbone.names import TIMM, joined_name
from dvt.errors import ConfigError

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone
    from dvt.spec import FeatureSpec


@dataclass(kw_only=True, slots=True)
class StoreBackboneConfig:
    """The ViT of the features of a store. The store names all of it; options given here must agree.

    Without a store the defaults of `BackboneConfig` apply.
    """

    name: str | None = None
    """Catalogue name of the ViT, or its name in another source."""
    source: str = TIMM
    """Where it comes from: timm, transformers, open_clip, torch_hub or module."""
    timm: str | None = None
    """Its timm name; used instead of name."""
    weights: str | None = None
    """Local weights file, where the ViT is run; left out: downloaded from the hub."""
    image_size: Any = None
    """Size in pixels of a view: one number, or [height,width]. It may differ from the store's where that holds F (dvt
    train: and pairs.raw is not stored)."""
    stride: int | None = None
    """Pixels between neighbouring patches."""
    layer: Any = None
    """Block whose output was taken, or several, counted from 0; -1 is the last."""
    norm: bool | None = None
    """Whether the ViT's final norm was applied."""
    precision: str = "fp32"
    """Number format of the forward pass, where the ViT is run: fp32, fp16, bf16 or fp64."""
    mean: Any = None
    """Mean of the colours, where the ViT is run; left out: what the source says."""
    std: Any = None
    """Their standard deviation; left out: what the source says."""
    trust_remote_code: bool = False
    """Run the code of a repository, for transformers and torch_hub."""

    @property
    def full_name(self) -> str | None:
        """The name of the ViT with its source; None where none is given.

        Raises:
            ConfigError: the source has no name, or the name is one of timm.
            BackboneError: there is no such source.
        """
        check_source(self.source, self.name, self.timm)
        return self.timm or (None if self.name is None else joined_name(self.source, self.name))


def store_list(store: Any) -> list[str]:
    """The folders of `store=`.

    Raises:
        ConfigError: the list is empty.
    """
    stores = [store] if isinstance(store, str) else list(store)
    if not stores:
        raise ConfigError("store=[] names no store: give what dvt decompose wrote.")
    return stores


def needs_of(wanted: StoreBackboneConfig, spec: "FeatureSpec") -> "FeatureSpec":
    """The spec that the features of a store must have: the options, and the store's values where they are left out.

    Raises:
        BackboneError: an unknown name, or no plain ViT.
        GeometryError: an image size that does not fit the patches of the store.
        ConfigError: no number of a block.
    """
    from dvt.backbone.vit import facts_of, published_name
    from dvt.grid import PatchGrid, image_hw

    name, layers = wanted.full_name, spec.layers
    if wanted.layer is not None:
        given = blocks_of(wanted.layer)
        depth = facts_of(spec.backbone, trust_remote_code=wanted.trust_remote_code).depth if min(given) < 0 else 0
        layers = tuple(layer if layer >= 0 else layer + depth for layer in given)
    hw = spec.grid.image_hw if wanted.image_size is None else image_hw(wanted.image_size)
    return replace(
        spec,
        backbone=published_name(name) if name else spec.backbone,
        layer=layers[-1],
        earlier_layers=layers[:-1],
        norm=spec.norm if wanted.norm is None else wanted.norm,
        grid=PatchGrid.of(hw, spec.grid.patch, spec.grid.stride if wanted.stride is None else wanted.stride),
    )


def load_backbone_of(spec: "FeatureSpec", wanted: StoreBackboneConfig) -> "Backbone":
    """The ViT of the features of a store; its weights are compared when the store is opened."""
    from dvt.backbone.load import load_backbone

    return load_backbone(
        spec.backbone,
        weights=wanted.weights,
        image_size=list(spec.grid.image_hw),
        stride=spec.grid.stride,
        layer=spec.layers,
        norm=spec.norm,
        device="cpu",  # the training moves it to its device
        precision=wanted.precision,
        mean=wanted.mean,
        std=wanted.std,
        trust_remote_code=wanted.trust_remote_code,
    )


def with_defaults(wanted: StoreBackboneConfig) -> BackboneConfig:
    """The given options, with defaults for the others."""
    given = {entry.name: getattr(wanted, entry.name) for entry in fields(wanted)}
    return BackboneConfig(**{name: value for name, value in given.items() if value is not None})
