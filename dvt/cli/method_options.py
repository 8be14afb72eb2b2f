"""The methods that `dvt show` and `dvt evaluate` put side by side, from their options."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from dvt.backbone.config import BackboneConfig
from dvt.decomposition.config import DecomposeConfig
from dvt.errors import ConfigError
from dvt.methods.config import PositionKind
from dvt.srt.config import SrtConfig

if TYPE_CHECKING:
    from dvt.backbone.backbone import Backbone
    from dvt.denoiser.denoised import DenoisedBackbone
    from dvt.methods.method import Method
    from dvt.methods.names import MethodName

_OPTION_OF = {"denoised": "denoiser", "distilled": "distilled"}
"""Trained methods, and the option that gives their weights."""


@dataclass(kw_only=True, slots=True)
class MethodsOptions(DecomposeConfig):
    """Options of both `dvt show` and `dvt evaluate`."""

    method: list[str] = field(default_factory=lambda: ["raw", "decomposed"])
    """Features side by side: raw, flip (mean with the mirror image), shift (mean of moved copies), srt, decomposed
    (decomposed:paper is that quality unchanged, decomposed@fine4 has 4 x 4 features a patch, decomposed+position0.5
    half of the removed position), denoised, distilled; zoom baselines: raw@2x (twice the image size), tiles (2 x 2
    parts of the image; also tiles@3x, srt-tiles)."""
    denoiser: Any = None
    """For denoised: a folder that dvt train or dvt calibrate wrote, a file, or the name of a released one; of several,
    [runs/a,runs/b], the methods are denoised:a and denoised:b."""
    distilled: Any = None
    """For distilled: a folder that dvt distill wrote, a file, or the name of a released one; or several, likewise."""
    position: float = 0.0
    """Share of position put back into cleaned features, 0 to 1; 0.5 is short for method=decomposed+position0.5 and so
    on, which puts several shares side by side."""
    position_kind: PositionKind = PositionKind.removed
    """What position= puts back: removed (what the method removed; costs a pass more, but not for decomposed), or sincos
    (a fixed sin-cos embedding; method=decomposed+sincos0.5)."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The ViT."""
    srt: SrtConfig = field(default_factory=SrtConfig)
    """Sub-token shifts, for srt."""
    seed: int = 0
    """Seed of the views, for decomposed."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""


OptionsT = TypeVar("OptionsT", bound=MethodsOptions)


def with_suffixes(options: OptionsT) -> OptionsT:
    """The options with `fine=4` and `position=0.5` as names of methods: decomposed@fine4+position0.5.

    Raises:
        ConfigError: they say one thing and a method another, or no method can have them.
    """
    from dvt.methods.names import finer_names, positioned_names

    if options.position == 0 and options.position_kind is not PositionKind.removed:
        raise ConfigError(f"position_kind={options.position_kind} has no effect without position=: give position=0.5.")
    names = finer_names(options.method, options.fine)
    return replace(options, method=positioned_names(names, options.position, options.position_kind))


def check_methods(options: MethodsOptions, quality: str) -> None:
    """Refuse methods that do not exist, and those that lack their weights, before anything is loaded.

    Args:
        options: what was asked for.
        quality: name of the quality that the options of stage 1 began with.

    Raises:
        ConfigError: says what is missing, or which option has no effect.
    """
    from dvt.methods.names import parse_names

    names = parse_names(options.method)
    for base, option in _OPTION_OF.items():
        _check_weights(options, base, option, [name for name in names if name.base == base])
    for name in names:
        if name.base == "srt" and name.fine > 1 and options.srt.fine not in (1, name.fine):
            raise ConfigError(
                f"srt.fine={options.srt.fine}, method={name.unzoomed}: two numbers of cells. Leave srt.fine out."
            )
    stage_1 = [name for name in names if name.base == "decomposed"]
    if stage_1 and all(name.variant is not None for name in stage_1):
        _check_no_effect(options, quality, stage_1[0].unzoomed)


def _check_weights(options: MethodsOptions, base: str, option: str, wanted: "list[MethodName]") -> None:
    """Every method has its weights, and all weights are used."""
    value, given, shown = getattr(options, option), weights_by_name(options, option), ",".join(options.method)
    if bool(wanted) != bool(given):
        raise ConfigError(
            f"method=[{shown}], {option}={value}: {base} features need both, for example"
            f" method=[raw,{base}] {option}=runs/{option}."
        )
    used = {next(iter(given)) if name.variant is None and len(given) == 1 else name.variant for name in wanted}
    if used != set(given):
        known = ", ".join(f"{base}:{name}" for name in given)
        raise ConfigError(f"method=[{shown}], {option}={value}: these weights are {known}; give each as a method.")


def weights_by_name(options: MethodsOptions, option: str) -> dict[str, str]:
    """The weights that an option gives, by the name that a method has them under: the last part of their path.

    Raises:
        ConfigError: two of one name, or a name that no method can have.

    Examples:
        >>> weights_by_name(MethodsOptions(denoiser=["runs/a/", "runs/b.safetensors"]), "denoiser")
        {'a': 'runs/a/', 'b': 'runs/b.safetensors'}
    """
    value = getattr(options, option)
    listed = value if isinstance(value, list) else [] if value is None else [value]
    names = [re.sub(r"\.(safetensors|pth)$", "", str(each).rstrip("/").rpartition("/")[2]) for each in listed]
    if len(names) > 1 and (len(set(names)) < len(names) or not all(re.fullmatch(r"[\w.+-]+", name) for name in names)):
        raise ConfigError(
            f"{option}=[{','.join(map(str, listed))}]: the names at the end of these paths tell them apart. Rename"
            " folders so that each has its own, of letters, digits and _ . + -."
        )
    return dict(zip(names, map(str, listed), strict=True))


def _check_no_effect(options: MethodsOptions, quality: str, name: str) -> None:
    """Refuse options of stage 1 where every method has a quality of its own."""
    from dvt.decomposition.quality import load_quality
    from dvt.decomposition.store_method import solver_settings
    from dvt.settings import differences

    changed = differences(
        solver_settings(options), solver_settings(load_quality(quality)), "request", f"quality {quality}"
    )
    if changed:
        raise ConfigError(
            f"{name} is a quality unchanged, and these options would have no effect ({changed[0]}). They belong to"
            " decomposed: add it to method=, or leave them out."
        )


def load_methods(options: MethodsOptions, *, one_size: bool) -> "tuple[Backbone, list[Method]]":
    """The raw ViT and all methods, on one device, at one layer, norm and stride of the ViT.

    Args:
        options: the methods and their options.
        one_size: whether the default image sizes of all models have to be the same, as they are used.

    Raises:
        ConfigError: an unknown name, or weights that were trained for another layer.
        WeightsError: weights are not found, unreadable, or of another backbone.
        GeometryError: a method that this stride does not allow.
    """
    from dvt.decomposition.quality import load_quality
    from dvt.methods.decomposed import Decomposed
    from dvt.methods.ensemble import Ensemble
    from dvt.methods.method import OnePass
    from dvt.methods.names import named_method, parse_names
    from dvt.srt.backbone import SrtBackbone

    backbone, trained = _models(options, one_size)

    def srt(name: "MethodName") -> "Method":
        model = SrtBackbone(backbone, options.srt if name.fine == 1 else replace(options.srt, fine=name.fine))
        return OnePass(name.unzoomed, model, cost=model.passes)

    def decomposed(name: "MethodName") -> "Method":
        config: DecomposeConfig = options
        if name.variant is not None:
            config = replace(load_quality(name.variant), batch_size=options.batch_size, encoding=options.encoding)
        share = 0.0 if name.position is None else name.position.share
        config = replace(config, fine=name.fine)
        return Decomposed(backbone, config, options.seed, quality=name.variant, position=share)

    def with_weights(name: "MethodName") -> "Method":
        models = trained[name.base]
        return OnePass(name.unzoomed, next(iter(models.values())) if name.variant is None else models[name.variant])

    makers: dict[str, Callable[[MethodName], Method]] = {
        "raw": lambda _: OnePass("raw", backbone),
        "flip": lambda _: Ensemble("flip", backbone),
        "shift": lambda _: Ensemble("shift", backbone),
        "srt": srt,
        "decomposed": decomposed,
        "denoised": with_weights,
        "distilled": with_weights,
    }
    methods = [named_method(name, makers) for name in parse_names(options.method)]
    for method in methods:
        method.grid_for(backbone.grid.image_hw)  # raises before anything is computed
    return backbone, methods


def _models(
    options: MethodsOptions, one_size: bool
) -> "tuple[Backbone, dict[str, dict[str, DenoisedBackbone | Backbone]]]":
    """The raw ViT, and the denoised and distilled ones that options name, by base and variant."""
    from dvt.backbone.load import load_from_config
    from dvt.denoiser.denoised import DenoisedBackbone
    from dvt.runtime import pick_device
    from dvt.weights.build import load_denoised_from_config

    device, wanted = str(pick_device(options.device)), options.backbone
    trained = {
        base: {
            name: load_denoised_from_config(
                replace(wanted, weights=None) if base == "distilled" else wanted, weights, device
            )
            for name, weights in weights_by_name(options, option).items()
        }
        for base, option in _OPTION_OF.items()
    }
    vits = [
        model.backbone if isinstance(model, DenoisedBackbone) else model
        for models in trained.values()
        for model in models.values()
    ]
    if vits:  # the raw features are read where the others were trained
        first = vits[0]
        wanted = replace(wanted, image_size=list(first.grid.image_hw), stride=first.grid.stride)
        wanted = replace(wanted, layer=list(first.layers), norm=first.norm)
    models = trained["denoised"].values()
    denoised = [each for each in models if isinstance(each, DenoisedBackbone) and not each.has_own_vit]
    raw = denoised[0].backbone if denoised else load_from_config(wanted, device)
    read = [(vit.layers, vit.norm, vit.grid.stride, vit.grid if one_size else None) for vit in (raw, *vits)]
    if len(set(read)) > 1:
        given = [weights for option in _OPTION_OF.values() for weights in weights_by_name(options, option).values()]
        if len({each[:3] for each in read}) > 1:
            what, way_out = "layers or strides", "give one of them at a time"
        else:
            what, way_out = "image sizes", "show one of them at a time, or give backbone.image_size"
        raise ConfigError(f"{' and '.join(given)} were trained on other {what} of the ViT: {way_out}.")
    return raw, trained
