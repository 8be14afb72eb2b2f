"""Where an export goes: everything that can be wrong with the wish is looked at before the work begins."""

from importlib.util import find_spec
from pathlib import Path

from dvt.errors import ConfigError
from dvt.export.config import SUFFIXES, ExportFormat
from dvt.weights.folder import is_model_folder, read_model_info
from dvt.weights.info import KINDS

_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def resolve_format(out: str | Path, wanted: ExportFormat = ExportFormat.auto) -> ExportFormat:
    """The format to write.

    Args:
        out: the file or, for safetensors, the folder.
        wanted: a format, or `auto` to take it from the name.

    Raises:
        ConfigError: the name says nothing or does not go with the format, something else lies there, or packages that
            the format needs are not installed.
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
        raise ConfigError(f"format=onnx needs {', '.join(missing)}: pip install 'dvt[onnx]'.")
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
