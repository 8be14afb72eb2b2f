"""What found weights are, recognised by content: a model folder, a checkpoint of our training, a file of the original.

Our denoiser has the key names of the original, so nothing is translated. Names and shapes of the tensors show the whole
architecture of a denoiser but the number of heads. A checkpoint of our training has settings, which `settings_in` of
`checkpoint.py` finds.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from dvt.backbone.reader import VitFacts
from dvt.backbone.vit import facts_of
from dvt.denoiser.config import DenoiserConfig, Kind
from dvt.denoiser.denoised import joined_state
from dvt.errors import ConfigError, WeightsError
from dvt.grid import PatchGrid
from dvt.spec import FeatureSpec
from dvt.weights.checkpoint import CHECKPOINTS, checkpoint_paths, settings_in, spec_in
from dvt.weights.folder import WEIGHTS_FILE, is_model_folder, read_model_folder, read_model_info
from dvt.weights.info import ModelInfo
from dvt.weights.read import find_state_dict, read_file
from dvt.weights.released import REPOSITORY, Released
from dvt.weights.resolve import Found
from dvt.weights.vit_state import find_vit

_BLOCK = re.compile(r"denoiser\.(\d+)\.norm1\.weight")
_TOKENS = re.compile(r"denoiser\.(groups\.\d+\.)?stages\.0\.tokenizers\.0\.filters\.weight")
_STUDENT = "backbone.vit."
"""Prefix of the ViT in a checkpoint of stage 3 that holds a denoiser as well."""
_CONVOLUTIONS = {1: Kind.conv1x1, 3: Kind.conv3x3}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """Tensors, and what is known of them."""

    kind: str
    """denoiser, distilled or denoised (both in one)."""
    state: Mapping[str, Tensor]
    """The tensors: of a denoiser with the original's names, of a distilled ViT with timm's; of both as
    `joined_state` names them."""
    path: Path
    """Their file."""
    source: str
    """What the user wrote."""
    info: ModelInfo | None = None
    """What a model folder says; None for a file."""
    released: Released | None = None
    """The row of the authors' files, where the name says so."""
    is_checkpoint: bool = False
    """Whether our training wrote the file."""
    spec: FeatureSpec | None = None
    """The features that a checkpoint is for; None where it does not say."""
    config: DenoiserConfig | None = None
    """The architecture of the denoiser in a file."""
    channels: int = 0
    """C of the denoiser in a file."""
    aside: tuple[str, ...] = ()
    """What the file of a ViT holds beside it, and is not in `state`: heads, decoders and the like."""

    @property
    def backbone(self) -> str | None:
        """Full timm name of their ViT, as a model folder, a checkpoint or the name of a released file says."""
        if self.info is not None:
            return self.info.spec.backbone
        if self.released is not None:
            return self.released.timm
        return self.spec.backbone if self.spec is not None else None

    def info_for(self, vit: VitFacts) -> ModelInfo:
        """What they are: as they say, or for a file that does not say, as weights of this ViT.

        A file of the original is for the last block after the final norm; a checkpoint of ours has to say.

        Raises:
            WeightsError: the ViT has another number of channels, or a checkpoint does not say its features.
        """
        if self.info is not None:
            return self.info
        if self.released is not None:
            vit = facts_of(self.released.timm)
        if self.config is not None and self.spec is None and self.channels != vit.num_channels:
            raise WeightsError(
                f"{self.source} is made for {self.channels} channels, {vit.name} has {vit.num_channels}: give the"
                " backbone that it was trained for."
            )
        if self.is_checkpoint and self.spec is None:
            raise WeightsError(
                f"{self.source} is a checkpoint of a run and does not say which features it learns from (layer, norm)."
                " Give the folder of the run once it is finished; or join dvt.load_denoiser(...) and a backbone of the"
                " same layer and norm: dvt.DenoisedBackbone(backbone, denoiser)."
            )
        spec = self.spec or vit.spec
        if self.spec is None and "pos_embed" in self.state and self.config is not None:
            sides = (self.grid_hw[0] * vit.patch, self.grid_hw[1] * vit.patch)
            spec = replace(spec, grid=PatchGrid.of(sides, vit.patch))
        return ModelInfo(
            kind=self.kind,
            spec=spec,
            architecture={} if self.config is None else self.config.to_plain(),
            training=self._origin,
            base_license=vit.license,
        )

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of the position embedding of a denoiser in a file, which does not say its shape.

        Raises:
            WeightsError: the number of entries is no square.
        """
        if "pos_embed" not in self.state:
            return 1, 1  # nothing depends on it
        count = self.state["pos_embed"].shape[1]
        side = math.isqrt(count)
        if side * side != count:
            raise WeightsError(
                f"the position embedding of {self.source} has {count} entries, which is no square grid, and the file"
                " does not say how many rows it has. Give a model folder (its config.json holds the grid)."
            )
        return side, side

    @property
    def _origin(self) -> dict[str, Any]:
        if self.released is not None:
            return {"origin": f"{REPOSITORY} on the Hugging Face hub", "file": self.released.file}
        return {"origin": self.path.name}


def recognise(found: Found) -> Weights:
    """Read weights and find out what they are.

    Raises:
        WeightsError: missing, damaged, holding code, or neither a denoiser nor a ViT.
    """
    path, source = found.path, found.source
    if path.name == WEIGHTS_FILE and is_model_folder(path.parent):
        path = path.parent
    if path.is_dir():
        _refuse_unfinished(path, source)
        found_kind = read_model_info(path).kind
        kind = found_kind if found_kind in ("distilled", "denoised") else "denoiser"
        state, info = read_model_folder(path, kind=kind)
        return Weights(kind=kind, state=state, info=info, path=path / WEIGHTS_FILE, source=source)
    content = read_file(path)
    state = _own_names(find_state_dict(content, path))
    is_denoiser = any(key.startswith("denoiser.") for key in state)
    vit = None if is_denoiser else find_vit(state, source=source)
    if not is_denoiser and vit is None:
        names = ", ".join(list(state)[:4])
        raise WeightsError(
            f"{source} holds neither a denoiser nor a ViT (its keys: {names}, ...). Expected a model folder of dvt, or"
            " a file of the original: pos_embed, denoiser.norm1.weight and so on."
        )
    settings = settings_in(content)
    known = {} if settings is None else settings
    if "denoiser.mixing.linear.weight" in state and any(
        key.startswith(("blocks.", "backbone.blocks.")) for key in state
    ):
        raise WeightsError(
            f"{source} holds a ViT with its denoiser, and its config.json, which says how to join them, is not beside"
            " it: give the whole folder."
        )
    if is_denoiser and any(key.startswith(_STUDENT) for key in state):
        return _student_with_denoiser(state, known, path, source)
    config, channels = _architecture(state, known.get("denoiser"), source) if is_denoiser else (None, 0)
    return Weights(
        kind="denoiser" if is_denoiser else "distilled",
        state=state if vit is None else vit.state,
        aside=() if vit is None else vit.aside,
        path=path,
        source=source,
        released=found.released,
        is_checkpoint=settings is not None,
        spec=spec_in(known),
        config=config,
        channels=channels,
    )


def _student_with_denoiser(
    state: Mapping[str, Tensor], settings: Mapping[str, Any], path: Path, source: str
) -> Weights:
    """A checkpoint of stage 3 in which a ViT and its linear denoiser are trained together.

    Raises:
        WeightsError: it does not say which blocks the denoiser reads.
    """
    student = settings.get("student")
    if not isinstance(student, Mapping) or "layers" not in student:
        raise WeightsError(
            f"{source} holds a ViT with its denoiser and does not say which blocks the denoiser reads: give the folder"
            " of the run, or the checkpoint as it was written."
        )
    vit = {key.removeprefix(_STUDENT): tensor for key, tensor in state.items() if key.startswith(_STUDENT)}
    denoiser = {key.removeprefix("denoiser."): tensor for key, tensor in state.items() if key.startswith("denoiser.")}
    return Weights(
        kind="denoised",
        state=joined_state(vit, denoiser),
        path=path,
        source=source,
        is_checkpoint=True,
        spec=spec_in(settings),
        config=DenoiserConfig(kind=Kind.linear, layers=list(student["layers"])),
        channels=len(denoiser["mixing.linear.bias"]),
    )


def _refuse_unfinished(path: Path, source: str) -> None:
    checkpoints = checkpoint_paths(path / CHECKPOINTS)
    if checkpoints and not is_model_folder(path):
        raise WeightsError(
            f"{source} is the folder of a run that has not finished: the command that began it continues it. Or give"
            f" its last checkpoint, {checkpoints[0]}."
        )


def _own_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict without the name of the attribute that a training step kept the denoiser in."""
    if any(key.startswith("denoiser.denoiser.") for key in state) and all(key.startswith("denoiser.") for key in state):
        return {key.removeprefix("denoiser."): tensor for key, tensor in state.items()}
    return state


def _architecture(state: Mapping[str, Tensor], given: object, source: str) -> tuple[DenoiserConfig, int]:
    """The architecture of a denoiser and C, from names and shapes of its tensors.

    Args:
        state: the tensors.
        given: fields of `DenoiserConfig` that tensors do not show, from the settings of a run; else the original's
            (heads of 64 channels).
        source: where the tensors come from, for the error.

    Raises:
        WeightsError: it is no denoiser that is known here.
    """
    options: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    try:
        first = state.get("denoiser.0.weight")
        if first is not None:
            size = first.shape[-1] if first.ndim == 4 else 0
            if size not in _CONVOLUTIONS:
                raise ConfigError(f"denoiser.0.weight is {tuple(first.shape)}, no 1 x 1 or 3 x 3 convolution")
            return DenoiserConfig.from_plain(options | {"kind": _CONVOLUTIONS[size]}), first.shape[1]
        if filters := [tensor for key, tensor in state.items() if _TOKENS.fullmatch(key)]:
            num_tokens, channels = filters[0].shape
            modules = {key.partition("stages.")[2].partition(".")[0] for key in state if ".stages." in key}
            shown = {
                "kind": Kind.semantic_tokens,
                "num_blocks": len(modules),
                "tokens": num_tokens,
                "position_embedding": "pos_embed" in state,
                "groups": len(filters),
            }
            return DenoiserConfig.from_plain(options | shown), channels * len(filters)
        numbers = [int(found[1]) for key in state if (found := _BLOCK.fullmatch(key))]
        prefix = "denoiser.0." if numbers else "denoiser."
        channels = state[f"{prefix}norm1.weight"].shape[0]
        shown = {
            "num_blocks": len(numbers) or 1,
            "position_embedding": "pos_embed" in state,
            "mlp_ratio": state[f"{prefix}mlp.fc1.weight"].shape[0] / channels,
        }
        return DenoiserConfig.from_plain(options | shown), channels
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise WeightsError(
            f"{source} holds no denoiser that is known here ({error}). Expected the 13 tensors of the original"
            " (pos_embed, denoiser.norm1.weight and so on), those of several blocks, of three convolutions, or of"
            " modules of semantic tokens."
        ) from error
