"""The methods that `dvt show` and `dvt evaluate` put side by side, from their options."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dvt.backbone.config import BackboneConfig
from dvt.decomposition.config import DecomposeConfig
from dvt.errors import ConfigError
from dvt.srt.config import SrtConfig

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone
    from dvt.denoiser.denoised import DenoisedBackbone
    from dvt.methods.method import Method


@dataclass(kw_only=True, slots=True)
class MethodsOptions(DecomposeConfig):
    """Options of both `dvt show` and `dvt evaluate`."""

    method: list[str] = field(default_factory=lambda: ["raw", "decomposed"])
    """Features side by side: raw, srt, decomposed, denoised, distilled; zoom baselines: raw@2x (twice the image size),
    tiles (2 x 2 parts of the image; also tiles@3x, srt-tiles)."""
    denoiser: str | None = None
    """For denoised: a folder that dvt train wrote, a file, or the name of a released one."""
    distilled: str | None = None
    """For distilled: a folder that dvt distill wrote, a file, or the name of a released one."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The ViT."""
    srt: SrtConfig = field(default_factory=SrtConfig)
    """Sub-token shifts, for srt."""
    seed: int = 0
    """Seed of the views, for decomposed."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""


def check_methods(options: MethodsOptions) -> None:
    """Refuse methods that do not exist, and those that lack their weights, before anything is loaded.

    Raises:
        ConfigError: says what is missing.
    """
    from dvt.methods.names import bases_of

    bases, shown = bases_of(options.method), ",".join(options.method)
    for method, option, value in (
        ("denoised", "denoiser", options.denoiser),
        ("distilled", "distilled", options.distilled),
    ):
        if (method in bases) != (value is not None):
            raise ConfigError(
                f"method=[{shown}], {option}={value}: {method} features need both, for example"
                f" method=[raw,{method}] {option}=runs/{option}."
            )


def load_methods(options: MethodsOptions) -> "tuple[Backbone, list[Method]]":
    """The raw ViT and all methods, on one device, at one layer, norm and grid of the ViT.

    Raises:
        ConfigError: an unknown name, or weights that were trained for another layer.
        WeightsError: weights are not found, unreadable, or of another backbone.
        GeometryError: a method that this stride does not allow.
    """
    from dvt.methods.decomposed import Decomposed
    from dvt.methods.method import OnePass
    from dvt.methods.names import named_method
    from dvt.srt.backbone import SrtBackbone

    backbone, denoised, distilled = _models(options)

    def srt(fine: int) -> "Method":
        model = SrtBackbone(backbone, options.srt if fine == 1 else replace(options.srt, fine=fine))
        return OnePass("srt" if fine == 1 else f"srt@fine{fine}", model, cost=model.passes)

    makers: dict[str, Callable[[int], Method]] = {
        "raw": lambda _: OnePass("raw", backbone),
        "srt": srt,
        "decomposed": lambda fine: Decomposed(backbone, options, options.seed, fine),
    }
    if denoised is not None:
        makers["denoised"] = lambda _: OnePass("denoised", denoised)
    if distilled is not None:
        makers["distilled"] = lambda _: OnePass("distilled", distilled)
    methods = [named_method(name, makers) for name in options.method]
    for method in methods:
        method.grid_for(backbone.grid.image_hw)  # raises before anything is computed
    return backbone, methods


def _models(
    options: MethodsOptions,
) -> "tuple[Backbone, DenoisedBackbone | Backbone | None, DenoisedBackbone | Backbone | None]":
    """The raw ViT, and the denoised and distilled ones where options name them."""
    from dvt.backbone.load import load_from_config
    from dvt.denoiser.denoised import DenoisedBackbone
    from dvt.runtime import pick_device
    from dvt.weights.build import load_denoised_from_config

    device, wanted, denoised, distilled = str(pick_device(options.device)), options.backbone, None, None
    if options.denoiser is not None:
        denoised = load_denoised_from_config(wanted, options.denoiser, device)
    if options.distilled is not None:
        distilled = load_denoised_from_config(replace(wanted, weights=None), options.distilled, device)
    first = denoised or distilled
    if first is not None:  # the raw features are read where the others were trained
        wanted = replace(wanted, image_size=list(first.grid.image_hw), stride=first.grid.stride)
        wanted = replace(wanted, layer=first.layer, norm=first.norm)
    raw = denoised.backbone if isinstance(denoised, DenoisedBackbone) else load_from_config(wanted, device)
    readings = {(model.layer, model.norm, model.grid) for model in (raw, denoised, distilled) if model is not None}
    if len(readings) > 1:
        raise ConfigError(
            f"{options.denoiser} and {options.distilled} were trained on other layers or image sizes of the ViT: show"
            " one of them at a time, or give backbone.image_size."
        )
    return raw, denoised, distilled
