"""The equation: raw ~ clean + artifact + residual."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dvt.decomposition.neural_field.artifact import ArtifactMap
from dvt.decomposition.neural_field.field import SemanticField
from dvt.decomposition.neural_field.residual import ResidualPredictor
from dvt.shapes import ImageXY, PatchIndex, Tokens


class Terms(NamedTuple):
    """The three terms of a batch of tokens, (N, C) each."""

    clean: Tensor
    artifact: Tensor
    residual: Tensor


class Decomposition(nn.Module):
    """raw ~ clean + artifact + residual, for the tokens of the views of one image (paper, eq. 5 and 9-10).

    Args:
        field: F, what is at this place of the image.
        artifact: G, what this patch position always adds.
        residual: h, what depends on both.
    """

    def __init__(self, field: SemanticField, artifact: ArtifactMap, residual: ResidualPredictor) -> None:
        super().__init__()
        self.field = field
        self.artifact = artifact
        self.residual = residual

    @torch.no_grad()
    def begin_at(self, clean_at: Callable[[Tensor], Tensor], artifact: Tensor) -> None:
        """Begin at a solution.

        Args:
            clean_at: F, which the network corrects.
            artifact: (H, W, C) G.
        """
        self.field.begin_at(clean_at)
        self.artifact.vectors.copy_(artifact.flatten(0, 1))

    def forward(self, raw: Tokens, image_xy: ImageXY, patch_index: PatchIndex) -> Terms:
        """The terms of N tokens.

        Args:
            raw: (N, C) features of the backbone.
            image_xy: (N, 2) places in the image that the tokens look at.
            patch_index: (N,) their positions in the view.
        """
        return Terms(
            clean=self.field(image_xy),
            artifact=self.artifact(patch_index),
            residual=self.residual(raw),
        )
