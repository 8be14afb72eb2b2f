"""A folder with `weights.safetensors` and `config.json`: the tensors at one size, for other code or for dvt."""

from pathlib import Path

from dvt.backbone.backbone import Backbone, Readout
from dvt.backbone.pruning import Pruning
from dvt.backbone.vit import make_reader
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.denoiser.network import Denoiser
from dvt.export.fixed_size import FixedSize, fixed_size
from dvt.export.parity import Runner
from dvt.runtime import Precision
from dvt.torch_state import own_torch_state
from dvt.weights.folder import WEIGHTS_FILE, read_model_folder, write_model_folder
from dvt.weights.info import CONFIG_FILE, ModelInfo
from dvt.weights.read import load_strict


def write_folder(fixed: FixedSize, info: ModelInfo, path: Path) -> list[Path]:
    """Write the folder; returns its two files."""
    write_model_folder(path, fixed.state_dict(), info)
    return [path / WEIGHTS_FILE, path / CONFIG_FILE]


def open_folder(path: Path) -> Runner:
    """Read the folder back, as a function of images; the code of its ViT was trusted when that was loaded."""
    return load_fixed_size(path, trust_remote_code=True)


@own_torch_state()
def load_fixed_size(folder: str | Path, *, trust_remote_code: bool = False) -> FixedSize:
    """Read a model that was exported as safetensors: from the folder, and the library of its ViT.

    Args:
        folder: what `dvt export` wrote.
        trust_remote_code: run the code of a repository, for transformers and torch.hub.

    Returns:
        The model, on the CPU: `(patches, prefix) = model(images)` for images of its one size.

    Raises:
        WeightsError: no such folder, half-written, damaged, or not of this model.
        BackboneError: its library does not know the ViT, or is not installed.
    """
    state, info = read_model_folder(folder, kind="fixed_size")
    reader = make_reader(info.spec.backbone, trust_remote_code=trust_remote_code, made_from=info.made_from)
    pruning = Pruning.of_state({key.removeprefix("vit."): tensor for key, tensor in state.items()})
    if pruning is not None:
        reader.drop_patches(pruning)
    readout = Readout.of(reader.facts, info.spec.grid.image_hw, info.spec.grid.stride, info.spec.layers, info.spec.norm)
    weights_hash = info.spec.weights_hash or ""
    backbone = Backbone(reader, readout, name=info.spec.backbone, weights_hash=weights_hash, precision=Precision.fp32)
    if info.architecture:
        of_denoiser = {
            key.removeprefix("denoiser."): tensor for key, tensor in state.items() if key.startswith("denoiser.")
        }
        fixed = fixed_size(DenoisedBackbone(backbone, Denoiser.from_state(of_denoiser, info, source=str(folder))))
    else:
        fixed = fixed_size(backbone)
    load_strict(fixed, state, source=str(Path(folder) / WEIGHTS_FILE))
    return fixed
