"""load_denoiser and list_denoisers."""

from fnmatch import fnmatchcase
from pathlib import Path

from dvt.denoiser.network import Denoiser
from dvt.weights.folder import is_model_folder, read_model_info
from dvt.weights.local import local_names
from dvt.weights.recognise import denoiser_of, read
from dvt.weights.released import RELEASED, catalogue_spelling, is_distilled, timm_spelling
from dvt.weights.resolve import find


def load_denoiser(source: str | Path) -> Denoiser:
    """Load a denoiser: ours, or one of the paper's authors. What a file is, is told by its content.

    Args:
        source: a model folder of dvt; a file of the original (`.pth` or `.safetensors`: with one block, several, no
            position embedding, or convolutions; also a trainer's checkpoint); a `.ckpt` of `dvt train`; a released
            name such as `voc_denoised/dinov2_base` (`list_denoisers`), which is looked for in `$DVT_HOME`,
            `checkpoints/`, and then on the Hugging Face hub; or `owner/name` of a model that somebody pushed there.

    Returns:
        The denoiser in evaluation mode, on the CPU, in float32; its `info` is set where its backbone is known.

    Raises:
        WeightsError: there is none, it cannot be fetched, is damaged, holds code, or is no denoiser.
    """
    return denoiser_of(read(find(source, distilled=False)))


def list_denoisers(pattern: str = "*", *, distilled: bool = False) -> list[str]:
    """Names that `load_denoiser` takes: those of the paper's authors, and what lies in local folders.

    Args:
        pattern: as for file names, such as `*dinov2*`; a name fits by its timm name or by the catalogue's
            (`voc_denoised/dinov2_base`, or `dinov2_base` alone).
        distilled: list the whole ViTs instead, which `load_denoised` takes.

    Raises:
        WeightsError: a model folder in a local folder is damaged.
    """
    released = [name for name, row in RELEASED.items() if row.is_distilled is distilled]
    local = [timm_spelling(name) for name, path in local_names().items() if _is_distilled(name, path) is distilled]
    return [name for name in dict.fromkeys([*released, *local]) if _fits(name, pattern)]


def _fits(name: str, pattern: str) -> bool:
    short = catalogue_spelling(name)
    return any(fnmatchcase(each, pattern) for each in (name, short, short.rpartition("/")[2]))


def _is_distilled(name: str, path: Path) -> bool | None:
    """Whether local weights are a whole ViT: a model folder says so, of a file the name of its folder; None: neither.

    An exported backbone is no denoiser, nor can it be taken for the ViT alone.
    """
    if is_model_folder(path):
        return {"distilled": True, "denoiser": False}.get(read_model_info(path).kind)
    return is_distilled(name.partition("/")[0])
