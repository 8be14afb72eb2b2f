"""Segmentation by semantic tokens (Wu et al. 2020): context from a few tokens, and a linear map to class scores."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvt.denoiser.semantic_tokens import VisualTransformers
from dvt.evaluation.config.segmentation import TokensProbeConfig
from dvt.evaluation.probes.dpt import CELLS
from dvt.evaluation.probes.segmenter import Segmenter
from dvt.runtime import seed_for
from dvt.shapes import FeatureMaps


class TokenSegmenter(Segmenter):
    """Modules of semantic tokens on the features, a linear map to class scores, upsampled bilinearly to the cells.

    Features of several blocks are the levels of a VT-FPN: each has tokens of its own, one transformer mixes the tokens
    of all, and they are projected back to each level. The levels stand side by side in front of the linear map, which
    is the sum of a linear map of each level. (A sum of the levels themselves would give all of them the same map.)

    The modules start as the identity, so the head starts as a linear probe.
    """

    def __init__(self, features: FeatureMaps, num_layers: int, num_classes: int, config: TokensProbeConfig, seed: int):
        """Initialise a head.

        Args:
            features: those of the training images; their mean and deviation are kept.
            num_layers: L, blocks side by side in the channels.
            num_classes: K.
            config: tokens and modules.
            seed: of the weights.
        """
        super().__init__(features)
        num_channels = features.shape[-1]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_for(seed, "semantic tokens segmentation"))
            self.context = VisualTransformers(
                num_channels // num_layers, config.tokens, config.num_modules, num_levels=num_layers
            )
            self.scores = nn.Linear(num_channels, num_classes)

    def cell_scores(self, standardised: FeatureMaps) -> Tensor:
        """(B, 4 H, 4 W, K) class scores, between the centres of the patches by bilinear interpolation."""
        with_context = self.context(standardised.flatten(1, 2))
        scores: Tensor = self.scores(with_context).reshape(*standardised.shape[:3], -1).permute(0, 3, 1, 2)
        finer = functional.interpolate(scores, scale_factor=CELLS, mode="bilinear", align_corners=False)
        return finer.permute(0, 2, 3, 1)
