"""What found weights are, by their content."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from dvt.backbone.build import VitFacts, facts_of
from dvt.denoiser.network import Denoiser
from dvt.errors import WeightsError
from dvt.grid import PatchGrid
from dvt.spec import FeatureSpec
from dvt.version import __version__
from dvt.weights.checkpoint import CHECKPOINTS, checkpoint_paths, settings_in, spec_in
from dvt.weights.folder import WEIGHTS_FILE, is_model_folder, read_model_folder, read_model_info
from dvt.weights.info import ModelInfo
from dvt.weights.original import build, is_denoiser, is_vit, own_names
from dvt.weights.read_file import find_state_dict, read_file
from dvt.weights.released import REPOSITORY, Released
from dvt.weights.resolve import Found


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Tensors, and what is known of them."""

    kind: str
    """denoiser or distilled."""
    state: Mapping[str, Tensor]
    """The tensors: of a denoiser with the original's names, of a distilled ViT with timm's."""
    info: ModelInfo | None
    """What a model folder says of them; None for a file."""
    path: Path
    """The file they lie in."""
    source: str
    """What the person wrote."""
    released: Released | None
    """Which of the authors' files it is, where the name says so."""
    settings: Mapping[str, Any] | None
    """What a checkpoint of our training says of its run; None for anything else."""

    @property
    def backbone(self) -> str | None:
        """Full timm name of their ViT, as a model folder, a checkpoint or the name of a released file says."""
        if self.info is not None:
            return self.info.spec.backbone
        if self.released is not None:
            return self.released.timm
        return self.learnt.backbone if self.learnt is not None else None

    @property
    def learnt(self) -> FeatureSpec | None:
        """Which features a checkpoint of our training is for; None where it does not say, and for anything else."""
        return spec_in(self.settings or {})


def read(found: Found) -> Weights:
    """Read weights of any kind that is known here.

    Raises:
        WeightsError: missing, damaged, holding code, or neither a denoiser nor a ViT.
    """
    path = found.path
    if path.name == WEIGHTS_FILE and is_model_folder(path.parent):
        path = path.parent
    if path.is_dir():
        _refuse_unfinished(path, found.source)
        kind = "distilled" if read_model_info(path).kind == "distilled" else "denoiser"
        state, info = read_model_folder(path, kind=kind)
        return Weights(kind, state, info, path / WEIGHTS_FILE, found.source, None, None)
    content = read_file(path)
    state = own_names(find_state_dict(content, path))
    if not is_denoiser(state) and not is_vit(state):
        names = ", ".join(list(state)[:4])
        raise WeightsError(
            f"{found.source} holds neither a denoiser nor a ViT (its keys: {names}, ...). Expected a model folder of"
            " dvt, or a file of the original: pos_embed, denoiser.norm1.weight and so on."
        )
    kind = "denoiser" if is_denoiser(state) else "distilled"
    return Weights(kind, state, None, path, found.source, found.released, settings_in(content))


def _refuse_unfinished(path: Path, source: str) -> None:
    checkpoints = checkpoint_paths(path / CHECKPOINTS)
    if checkpoints and not is_model_folder(path):
        raise WeightsError(
            f"{source} is the folder of a run that has not finished: the command that began it continues it. Or give"
            f" its last checkpoint, {checkpoints[0]}."
        )


def denoiser_of(weights: Weights) -> Denoiser:
    """The denoiser of weights, with its `info` where it is known; in evaluation mode, on the CPU.

    Raises:
        WeightsError: they are a whole ViT, or do not fit together.
    """
    if weights.kind == "distilled":
        raise WeightsError(
            f"{weights.source} is a whole ViT (distilled: it cleans by itself), not a denoiser. Load it with"
            f" dvt.load_denoised(<backbone>, weights={weights.source!r}), or dvt.load_backbone(<backbone>,"
            f" weights={str(weights.path)!r})."
        )
    if weights.info is not None:
        return Denoiser.from_state(weights.state, weights.info, source=weights.source)
    shown = (weights.settings or {}).get("denoiser")  # tensors do not show the channels of a head
    denoiser = build(weights.state, source=weights.source, architecture=shown if isinstance(shown, Mapping) else {})
    if weights.backbone is not None:
        denoiser.info = denoiser_info(denoiser, facts_of(weights.backbone), weights)
    return denoiser


def denoiser_info(denoiser: Denoiser, vit: VitFacts, weights: Weights) -> ModelInfo:
    """What the denoiser of a file is, once its ViT is known.

    Raises:
        WeightsError: it has another number of channels than the ViT, or is a checkpoint that does not say which
            features it learns from.
    """
    if denoiser.num_channels != vit.num_channels:
        raise WeightsError(
            f"{weights.source} is made for {denoiser.num_channels} channels, {vit.name} has {vit.num_channels}: give"
            " the backbone that it was trained for."
        )
    rows, columns = denoiser.grid_hw
    sides = (rows * vit.patch, columns * vit.patch) if denoiser.pos_embed is not None else vit.image_hw
    return _file_info(vit, weights, PatchGrid.of(sides, vit.patch), asdict(denoiser.config))


def distilled_info(vit: VitFacts, weights: Weights) -> ModelInfo:
    """What the distilled ViT of a file is, once its name is known.

    Raises:
        WeightsError: it is a checkpoint that does not say which features were trained.
    """
    return _file_info(vit, weights, PatchGrid.of(vit.image_hw, vit.patch), {})


def _file_info(vit: VitFacts, weights: Weights, grid: PatchGrid, architecture: dict[str, Any]) -> ModelInfo:
    """A file of the original takes the last block and the final norm for granted; a checkpoint of ours must say."""
    spec = replace(vit.spec, grid=grid)
    if weights.settings is not None:
        if weights.learnt is None:
            raise WeightsError(
                f"{weights.source} is a checkpoint of a run and does not say which features it learns from (layer,"
                " norm). Give the folder of the run once it is finished; or join dvt.load_denoiser(...) and a backbone"
                " of the same layer and norm: dvt.DenoisedBackbone(backbone, denoiser)."
            )
        spec = weights.learnt
    return ModelInfo(
        kind=weights.kind,
        spec=spec,
        architecture=architecture,
        training=_origin(weights),
        metrics={},
        base_license=vit.license,
        code_version=__version__,
    )


def _origin(weights: Weights) -> dict[str, Any]:
    """Where the weights of a file come from, for `ModelInfo.training`."""
    if weights.released is not None:
        return {"origin": f"{REPOSITORY} on the Hugging Face hub", "file": weights.released.file}
    return {"origin": weights.path.name}
