"""A name to a ready model: resolve the files, recognise what they hold, build it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from dvt.backbone.backbone import Backbone
from dvt.backbone.config import DEFAULT_BACKBONE, BackboneConfig, blocks_of
from dvt.backbone.load import load_backbone
from dvt.backbone.names import TIMM, split_name
from dvt.backbone.preprocess import Preprocess
from dvt.backbone.vit import facts_of, published_name
from dvt.backbone.weights import VitNotFetchedError
from dvt.denoiser.denoised import DenoisedBackbone, split_state
from dvt.denoiser.network import Denoiser
from dvt.errors import ConfigError, WeightsError
from dvt.numbers import takes_numbers
from dvt.settings import differences
from dvt.spec import layers_text
from dvt.torch_state import own_torch_state
from dvt.weights.info import ModelInfo, not_a_denoiser
from dvt.weights.recognise import Weights, recognise
from dvt.weights.resolve import resolve, resolve_for


@own_torch_state()
def load_denoiser(source: str | Path) -> Denoiser:
    """Load a denoiser: ours, or one of the paper's authors. The file type is detected from the content.

    Args:
        source: a model folder of dvt; a file of the original (`.pth` or `.safetensors`, with one block, several, no
            position embedding, or convolutions; also a trainer's checkpoint); a `.ckpt` of `dvt train`; a released
            name such as `voc_denoised/dinov2_base` (`list_denoisers`), searched in `$DVT_HOME`, `checkpoints/` and on
            the Hugging Face hub; or `owner/name` of a model on the hub.

    Returns:
        The denoiser in evaluation mode, on the CPU, in float32; its `info` is set where its backbone is known.

    Raises:
        WeightsError: there is none, it cannot be downloaded, is damaged, holds code, or is no denoiser.

    Examples:
        >>> denoiser = load_denoiser("vit_micro/denoiser")
        >>> denoiser.info.spec.backbone, denoiser.num_channels
        ('vit_micro_patch16_224.dvt', 192)
    """
    weights = recognise(resolve(source, distilled=False))
    info = weights.info
    if info is None and weights.backbone is not None:
        info = weights.info_for(facts_of(weights.backbone))
    return build_denoiser(weights, info)


@takes_numbers
@own_torch_state()
def load_denoised(
    backbone: str | None = None,
    weights: str | Path = "voc_denoised",
    *,
    image_size: int | tuple[int, int] | None = None,
    stride: int | None = None,
    device: str = "auto",
    precision: str = "fp32",
    backbone_weights: str | Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    trust_remote_code: bool = False,
) -> tuple[DenoisedBackbone | Backbone, Preprocess]:
    """Load a ViT with clean features: with a denoiser, distilled, or both in one folder.

    Args:
        backbone: a catalogue name, the name of a plain ViT of timm, or `<source>:<name>`; None: the one that the
            weights were made for, or dinov2_base where they do not say or a recipe has several.
        weights: a recipe of the paper's authors (voc_denoised, imgnet_denoised, voc_distilled, imgnet_distilled),
            anything that `load_denoiser` takes, a distilled ViT as file or model folder, or a folder with both.
        image_size: default size of an image in pixels, one number or height and width; None: as it was trained.
        stride: pixels between neighbouring patches; None: as it was trained.
        device: `auto` (cuda, else mps, else cpu) or a device of this machine.
        precision: `fp32`, `fp16`, `bf16` or `fp64`.
        backbone_weights: a file with the ViT's own weights, or `random`; None: those of the hub.
        mean: as in `load_backbone`.
        std: as in `load_backbone`.
        trust_remote_code: as in `load_backbone`.

    Returns:
        The model, `model(images) -> Features` for (B, 3, y, x) RGB in [0, 1]; and `preprocess`, which makes such an
        image of a path, a PIL image or a tensor.

    Raises:
        WeightsError: the weights cannot be downloaded or read, or belong to another backbone.
        BackboneError: there is no such backbone.
        ConfigError: a device, precision or image size that does not exist.
        GeometryError: image size, patch size and stride do not go together.

    Examples:
        >>> import torch
        >>> model, preprocess = load_denoised(weights="vit_micro/denoiser", device="cpu")
        >>> model(preprocess(torch.rand(3, 300, 200))[None]).patches.shape
        torch.Size([1, 14, 14, 192])
    """
    named = published_name(backbone or DEFAULT_BACKBONE)
    found = recognise(resolve_for(weights, named))
    name = named if backbone is not None else found.backbone or named
    info = found.info or found.info_for(facts_of(name))
    spec = info.spec
    of_timm = split_name(name)[0] == TIMM  # another source is asked once, when the ViT is loaded
    channels = facts_of(name).num_channels * len(spec.layers) if of_timm else spec.channels
    _refuse_other(
        found, {"backbone": spec.backbone, "channels": spec.channels}, {"backbone": name, "channels": channels}
    )
    has_vit = found.kind in ("distilled", "denoised")
    if has_vit and backbone_weights is not None:
        raise ConfigError(
            f"backbone_weights={backbone_weights} and {found.source}, which is a whole ViT with weights of its own:"
            " leave one of them out."
        )
    vit_weights, own = split_state(found.state) if found.kind == "denoised" else (found.path, found.state)
    denoiser = None if found.kind == "distilled" else _denoiser_of(found, own, info)
    try:
        model = load_backbone(
            backbone or name,
            weights=vit_weights if has_vit else backbone_weights,
            image_size=spec.grid.image_hw if image_size is None else image_size,
            stride=spec.grid.stride if stride is None else stride,
            layer=spec.layers,
            norm=spec.norm,
            device=device,
            precision=precision,
            mean=mean,
            std=std,
            trust_remote_code=trust_remote_code,
            made_from=info.made_from or None,
        )
    except VitNotFetchedError as error:
        raise WeightsError(
            f"the denoiser {found.source} was found, its ViT was not: {error.reason} Check the connection and try"
            " again, or give a file with the weights of the ViT: backbone_weights=<file>, on the command line"
            " backbone.weights=<file>."
        ) from error
    if denoiser is None:
        return model, model.preprocess
    if spec.weights_hash is not None and not has_vit:
        _refuse_other(found, {"weights_hash": spec.weights_hash}, {"weights_hash": model.weights_hash})
    return DenoisedBackbone(model, denoiser), model.preprocess


def load_denoised_from_config(wanted: BackboneConfig, weights: str, device: str) -> DenoisedBackbone | Backbone:
    """Load what a configuration of the ViT asks for, at the layer and norm that the weights were trained for.

    Raises:
        ConfigError: the configuration asks for another layer or norm.
        WeightsError, BackboneError, GeometryError: as `load_denoised`.
    """
    model, _ = load_denoised(
        wanted.full_name,
        weights=weights,
        image_size=tuple(wanted.image_size) if isinstance(wanted.image_size, list) else wanted.image_size,
        stride=wanted.stride,
        device=device,
        precision=wanted.precision,
        backbone_weights=wanted.weights,
        mean=wanted.mean,
        std=wanted.std,
        trust_remote_code=wanted.trust_remote_code,
    )
    given = blocks_of(wanted.layer)
    if given not in ([-1], list(model.layers)) or (model.norm and not wanted.norm):
        raise ConfigError(
            f"{weights} was trained on {layers_text(model.layers)} {'after' if model.norm else 'before'} the final"
            " norm: leave out backbone.layer and backbone.norm."
        )
    return model


def build_denoiser(weights: Weights, info: ModelInfo | None) -> Denoiser:
    """The denoiser of weights; in evaluation mode, on the CPU.

    Args:
        weights: the tensors.
        info: what they are; None: a file whose ViT is unknown.

    Raises:
        WeightsError: they are a whole ViT, or do not fit together.
    """
    if weights.kind != "denoiser":
        ways = f"dvt.load_denoised(<backbone>, weights={weights.source!r})"
        if weights.kind == "distilled":
            ways += f", or dvt.load_backbone(<backbone>, weights={str(weights.path)!r})"
        raise WeightsError(not_a_denoiser(weights.source, ways, weights.kind))
    return _denoiser_of(weights, weights.state, info)


def _denoiser_of(weights: Weights, state: Mapping[str, Tensor], info: ModelInfo | None) -> Denoiser:
    if info is not None:
        return Denoiser.from_state(state, info, source=weights.source)
    assert weights.config is not None, "a model folder has an info"
    return Denoiser.from_tensors(state, weights.config, weights.channels, weights.grid_hw, source=weights.source)


def _refuse_other(weights: Weights, made_for: Mapping[str, object], given: Mapping[str, object]) -> None:
    """Compare settings that the weights were made for with those of the backbone.

    Raises:
        WeightsError: some setting differs; each is named with both values.
    """
    if faults := differences(made_for, given, "weights", "backbone"):
        lines = "".join(f"\n  {fault}" for fault in faults)
        raise WeightsError(
            f"{weights.source} does not belong to this backbone:{lines}\n"
            "Give the backbone that it was trained with: its weights (backbone_weights=..., on the command line"
            " backbone.weights=...), and mean and std of the colours where they were given then."
        )
