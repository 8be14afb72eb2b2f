"""Features: the output of a backbone; FeatureExtractor: its interface."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from dvt.errors import BackboneError, EvaluationError
from dvt.grid import PatchGrid
from dvt.options import type_name
from dvt.shapes import FeatureMaps, ImageBatch, PrefixTokens


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Tokens of a batch of images of one size."""

    patches: FeatureMaps
    """(B, H, W, C): one vector per patch, rows from the top, columns from the left."""
    prefix: PrefixTokens
    """(B, P, C): class and register tokens in the model's own order; P may be 0."""
    grid: PatchGrid
    """Places of the patches; `grid.hw` is (H, W)."""

    def _repr_html_(self) -> str | None:
        """An explorer of the first images, for notebooks; None where they do not fit: the notebook then shows text."""
        from dvt.viz.explorer.notebook import features_html

        return features_html(self.patches, self.grid)


def require_finite(name: str, *tokens: Tensor) -> None:
    """Refuse features that are NaN or infinite; `name` says whose they are.

    Raises:
        EvaluationError: some are.
    """
    if not all(bool(each.isfinite().all()) for each in tokens):
        raise EvaluationError(
            f"{name} gives features that are NaN or infinite. With precision=fp16, use fp32 or bf16; otherwise check"
            " the weights."
        )


def check_model(name: str, model: object) -> None:
    """Refuse what is no ViT of dvt, such as a model of timm.

    Raises:
        BackboneError: names the argument, its type and the way out.
    """
    if not (hasattr(model, "grid") and hasattr(model, "device") and callable(model)):
        raise not_a_model(name, model)


def not_a_model(name: str, model: object) -> BackboneError:
    """The error for an argument that is no ViT of dvt."""
    return BackboneError(
        f"{name} is of type {type_name(model)}, not a ViT of dvt: give what dvt.load_backbone(name) or"
        " dvt.load_denoised(name, ...) returned. They take every plain ViT of timm by name, and its weights as a file."
    )


def num_layers_of(model: object) -> int:
    """How many layers of a ViT the features of a model have side by side; 1 of a model that does not say."""
    return len(getattr(model, "layers", (0,)))


@runtime_checkable
class FeatureExtractor(Protocol):
    """Anything that gives features: the raw ViT, and every cleaned one."""

    @property
    def grid(self) -> PatchGrid:
        """The patches of an image of the default size."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def __call__(self, images: ImageBatch) -> Features:
        """(B, 3, y, x) images, RGB in [0, 1], to features."""
