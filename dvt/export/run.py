"""Export a backbone: write to a temporary folder, compare with PyTorch, then move into place."""

import copy
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from dvt.backbone.backbone import Backbone
from dvt.backbone.features import check_model
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.errors import ConfigError, WeightsError
from dvt.export.config import SUFFIXES, TOLERANCES, ExportFormat
from dvt.export.fixed_size import FixedSize, fixed_size
from dvt.export.graph_files import open_onnx, open_pt2, write_onnx, write_pt2
from dvt.export.parity import Parity, ParityError, Runner, compare
from dvt.export.weights_folder import open_folder, write_folder
from dvt.files import TEMP_SUFFIX, DiskError, disk_errors, move_into_place, short_name
from dvt.grid import PatchGrid
from dvt.numbers import takes_numbers
from dvt.one_writer import lock_beside, one_writer
from dvt.paths import expand_home
from dvt.torch_state import own_torch_state
from dvt.weights.folder import is_model_folder, read_model_info
from dvt.weights.info import KINDS, ModelInfo

_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True, slots=True)
class _Way:
    """How a format is written and read back."""

    write: Callable[[FixedSize, ModelInfo, Path], list[Path]]
    """Writes a model at a path; returns its files, the committing one last."""
    open: Callable[[Path], Runner]
    """Reads it back."""


_WAYS = {
    ExportFormat.onnx: _Way(write_onnx, open_onnx),
    ExportFormat.torch_export: _Way(write_pt2, open_pt2),
    ExportFormat.safetensors: _Way(write_folder, open_folder),
}


@dataclass(frozen=True, slots=True)
class Exported:
    """Result of an export."""

    path: Path
    """The file, or the folder of safetensors."""
    format: ExportFormat
    """Its format."""
    info: ModelInfo
    """Backbone, layer, size; the same text is in the file."""
    num_prefix_tokens: int
    """P, prefix tokens of its output."""
    gives_raw: bool
    """Whether the features in front of the denoiser are an output as well."""
    num_bytes: int
    """Size on the disk."""
    parity: Parity
    """Difference from PyTorch."""
    tolerance: float
    """Accepted difference."""


@takes_numbers
@own_torch_state()
def export_model(
    model: Backbone | DenoisedBackbone,
    out: str | Path,
    format: ExportFormat | str = ExportFormat.auto,
    image_hw: tuple[int, int] | None = None,
    tolerance: float | None = None,
    raw: bool = False,
) -> Exported:
    """Write a backbone at one image size as ONNX, torch.export or safetensors, and check what was written.

    The exported model takes (B, 3, height, width) float32 RGB in [0, 1], not normalised, for any B, and returns patches
    (B, H, W, C) and prefix tokens (B, P, C), and with `raw` the patches in front of the denoiser. It is compared with
    `model` on random images; if they differ by more than the tolerance, nothing is left and an older export of that
    name stays.

    Args:
        model: the backbone, raw, denoised or distilled, in float32 on any device; it is not changed.
        out: the file, or for safetensors the folder; its parents are made.
        format: `onnx`, `torch_export`, `safetensors`, or `auto`: by the name.
        image_hw: height and width of the images; None: the default size of the model.
        tolerance: largest absolute difference that is accepted; None: `TOLERANCES` of the format.
        raw: whether to give the features in front of the denoiser as a third output; not for safetensors.

    Raises:
        ConfigError: name and format do not go together, a package is missing, the model is in half precision, or
            `raw` for a model or format that has no such output.
        GeometryError: the size does not fit patch and stride.
        WeightsError: the model gives NaN or infinity in PyTorch.
        ParityError: the difference is above the tolerance.
        DiskError: the disk is full or refuses.
    """
    check_model("model", model)
    out = expand_home(out)
    kind = resolve_format(out, _parse(format))
    accepted = TOLERANCES[kind] if tolerance is None else tolerance
    if not accepted >= 0:
        raise ConfigError(f"tolerance={accepted}: give 0 or more.")
    if raw and kind is ExportFormat.safetensors:
        raise ConfigError(
            "raw=true is for onnx and torch_export: a folder of safetensors holds ViT and denoiser apart, so both"
            " features can be computed from it. Leave raw out."
        )
    _check_finite(model)
    fixed = fixed_size(model, image_hw, raw)
    info = describe(model, fixed.grid)
    with one_writer(lock_beside(out), out), _folder_aside(out, fixed) as aside:
        with disk_errors(out):
            files = _WAYS[kind].write(fixed, info, aside / out.name)
        on_cpu = _on_cpu(model)
        before = on_cpu.backbone if raw and isinstance(on_cpu, DenoisedBackbone) else None
        parity = compare(_WAYS[kind].open(aside / out.name), on_cpu, fixed.grid.image_hw, raw=before)
        if not parity.within(accepted):
            raise ParityError(
                f"{out} was not written: what format={kind} computes is too far from PyTorch. {parity};"
                f" tolerance {accepted:g}. Give a larger tolerance if that will do, or another format."
            )
        num_bytes = sum(file.stat().st_size for file in files)
        _move([file.relative_to(aside) for file in files], aside, out.parent)
    return Exported(out, kind, info, fixed.num_prefix_tokens, raw, num_bytes, parity, accepted)


@torch.no_grad()
def _check_finite(model: Backbone | DenoisedBackbone) -> None:
    """Refuse a model that gives NaN or infinity on a random image: nothing could be compared with it.

    Raises:
        WeightsError: names the first damaged weight, if there is one.
    """
    images = torch.rand(1, 3, *model.grid.image_hw, generator=torch.Generator().manual_seed(0))
    features = model(images.to(model.device))
    if all(bool(tokens.isfinite().all()) for tokens in (features.patches, features.prefix)):
        return
    damaged = [name for name, tensor in model.state_dict().items() if not bool(tensor.isfinite().all())]
    where = f"NaN or infinity in {len(damaged)} weights, the first is {damaged[0]}" if damaged else "all are finite"
    raise WeightsError(
        f"the features of {model.full_name} are NaN or infinite in PyTorch already, so nothing can be exported: look at"
        f" the weights ({where})."
    )


def resolve_format(out: str | Path, wanted: ExportFormat = ExportFormat.auto) -> ExportFormat:
    """The format to write.

    Args:
        out: the file or, for safetensors, the folder.
        wanted: a format, or `auto` to take it from the name.

    Raises:
        ConfigError: the name does not fit the format, something else exists there, or packages that the format needs
            are not installed.
    """
    out = Path(out)
    kind = _by_name(out) if wanted is ExportFormat.auto else wanted
    suffix = SUFFIXES.get(kind)
    if suffix is None and out.exists() and not out.is_dir():
        raise ConfigError(f"out={out} is a file: format={kind} writes a folder, give the name of one.")
    if suffix is not None and out.suffix != suffix:
        raise ConfigError(f"out={out}: format={kind} writes one file, give a name that ends in {suffix}.")
    if suffix is not None and out.is_dir():
        raise ConfigError(f"out={out} is a folder: format={kind} writes one file, give another name.")
    if suffix is None and is_model_folder(out) and read_model_info(out).kind != "fixed_size":
        raise ConfigError(
            f"out={out} holds {KINDS[read_model_info(out).kind]}, which the export would replace: give another folder."
        )
    missing = [name for name in _ONNX_PACKAGES if find_spec(name) is None] if kind is ExportFormat.onnx else []
    if missing:
        raise ConfigError(f"format=onnx needs {', '.join(missing)}: pip install 'denoising-vit[onnx]'.")
    return kind


def _by_name(out: Path) -> ExportFormat:
    for kind, suffix in SUFFIXES.items():
        if out.suffix == suffix:
            return kind
    if out.suffix and not out.is_dir():
        raise ConfigError(
            f"out={out} ends in {out.suffix}: give a name that ends in {' or '.join(SUFFIXES.values())}, or a folder"
            " for safetensors (where its name has a dot, add format=safetensors)."
        )
    return ExportFormat.safetensors


def describe(model: Backbone | DenoisedBackbone, grid: PatchGrid) -> ModelInfo:
    """The description of an exported backbone; `architecture` is that of its denoiser, empty without one.

    Args:
        model: the backbone.
        grid: the patches at the size that is exported.
    """
    denoiser = model.denoiser if isinstance(model, DenoisedBackbone) else None
    backbone = model.backbone if isinstance(model, DenoisedBackbone) else model
    return ModelInfo(
        kind="fixed_size",
        spec=replace(backbone.spec, grid=grid),
        architecture=denoiser.config.to_plain() if denoiser else {},
        base_license=backbone.reader.facts.license,
        made_from=backbone.reader.made_from,
    )


def _parse(format: ExportFormat | str) -> ExportFormat:
    try:
        return ExportFormat(format)
    except ValueError as error:
        raise ConfigError(f"format={format} does not exist. Give one of {', '.join(ExportFormat)}.") from error


def _on_cpu(model: Backbone | DenoisedBackbone) -> Backbone | DenoisedBackbone:
    """The model on the CPU: other devices round differently."""
    return model if model.device.type == "cpu" else copy.deepcopy(model).cpu()


@contextmanager
def _folder_aside(out: Path, fixed: FixedSize) -> Iterator[Path]:
    """A temporary folder next to `out`, on the same disk."""
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        needed = sum(tensor.nbytes for tensor in fixed.state_dict().values())
        free = shutil.disk_usage(out.parent).free
        if free < needed:
            raise DiskError(f"no space to write {out}: it takes {needed} bytes, {free} are free. Free some.")
        folder = TemporaryDirectory(prefix=f".{short_name(out.name)}.", suffix=TEMP_SUFFIX, dir=out.parent)
    with folder as name:
        yield Path(name)


def _move(files: list[Path], aside: Path, folder: Path) -> None:
    """Move files into place. The last of several commits the others: an older one is deleted first."""
    if len(files) > 1:
        (folder / files[-1]).unlink(missing_ok=True)
    for file in files:
        (folder / file).parent.mkdir(exist_ok=True)
        move_into_place(aside / file, folder / file)
