"""Released files <-> model folders."""

from pathlib import Path

from dvt.backbone.build import build_vit, facts_of
from dvt.backbone.weights import fill
from dvt.errors import BackboneError, ConfigError, WeightsError
from dvt.weights.info import ModelInfo
from dvt.weights.original import to_original, vit_to_original, write_original
from dvt.weights.publish import save_model
from dvt.weights.recognise import Weights, denoiser_info, denoiser_of, distilled_info, read
from dvt.weights.resolve import find

ORIGINAL_SUFFIX = ".pth"
"""What the names of the original's files end in."""


def convert(source: str | Path, out: str | Path, *, backbone: str | None = None) -> list[str]:
    """Write weights in the other layout: the original's `.pth`, or a model folder. Keys and values stay as they are.

    Args:
        source: whatever `load_denoiser` takes, or a distilled ViT.
        out: a name that ends in `.pth`, or a folder; it must not be there yet.
        backbone: the ViT that the weights belong to, where the source does not say.

    Returns:
        What the written file does not hold, one line each.

    Raises:
        WeightsError: the source cannot be had or read, or its backbone is another, or not known.
        ConfigError: `out` is there already, or its name has another ending.
        DiskError: the disk is full or refuses.
    """
    out = Path(out).expanduser()
    _check_out(out)
    weights = read(find(source))
    info = _info(weights, backbone)
    if out.suffix == ORIGINAL_SUFFIX:
        content = (
            to_original(denoiser_of(weights), weights.state)
            if weights.kind == "denoiser"
            else vit_to_original(weights.state)
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        write_original(out, content)
        return _not_said(info)
    if info is None:
        raise WeightsError(
            f"{weights.source} does not say which backbone it belongs to, and a model folder does: add"
            f" backbone=<name>, such as backbone=dinov2_base.{_guess(weights)}"
        )
    save_model(out, weights.state, info)
    return []


def _info(weights: Weights, backbone: str | None) -> ModelInfo | None:
    """What the weights are; the tensors are looked at too.

    Raises:
        WeightsError: they do not fit together, or belong to another backbone than the one given.
    """
    known = weights.backbone
    name = backbone or known
    vit = facts_of(name) if name is not None else None
    if known is not None and vit is not None and vit.name != known:
        raise WeightsError(f"{weights.source} belongs to {known}, not to backbone={backbone}: leave backbone= out.")
    if weights.kind == "denoiser":
        denoiser = denoiser_of(weights)
        return denoiser.info or (denoiser_info(denoiser, vit, weights) if vit is not None else None)
    if weights.info is not None or vit is None:
        return weights.info
    fill(build_vit(vit.name), weights.state, source=weights.source)
    return distilled_info(vit, weights)


def _check_out(out: Path) -> None:
    if out.exists():
        raise ConfigError(f"{out} is there already: give another name, or delete it.")
    if out.suffix in (".pt", ".bin", ".ckpt", ".safetensors", ".tar", ".json"):
        raise ConfigError(
            f"{out} ends in {out.suffix}: give a name that ends in {ORIGINAL_SUFFIX} for the original's layout, or the"
            " name of a folder for ours."
        )


def _guess(weights: Weights) -> str:
    name = weights.path.stem
    try:
        return f" By its name: backbone={facts_of(name).name}?"
    except BackboneError:
        return ""


def _not_said(info: ModelInfo | None) -> list[str]:
    """What a file of the original cannot say, where it differs from what the original takes for granted."""
    if info is None:
        return []
    rows, columns = info.spec.grid.hw
    lines = [f"the file does not say that it belongs to {info.spec.backbone}: keep that in its name"]
    depth = facts_of(info.spec.backbone).depth
    if info.spec.layer % depth != depth - 1:
        lines.append(f"the file does not say that it was made for layer {info.spec.layer}; the original takes the last")
    if not info.spec.norm:
        lines.append("the file does not say that it was made without the final norm; the original applies it")
    if rows != columns:
        lines.append(f"the file does not say that its grid is {rows} x {columns}; the original takes it for square")
    if info.architecture.get("head_channels", 64) != 64:
        lines.append(f"the file does not say that its heads have {info.architecture['head_channels']} channels, not 64")
    return lines
