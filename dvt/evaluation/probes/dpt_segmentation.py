"""Segmentation by a DPT head: its trunk on frozen features of one to four blocks, and a linear map to class scores."""

import torch
from torch import Tensor, nn

from dvt.errors import ConfigError
from dvt.evaluation.config.segmentation import DptProbeConfig
from dvt.evaluation.probes.dpt import MOST_LAYERS, DptTrunk
from dvt.evaluation.probes.segmenter import Segmenter
from dvt.runtime import seed_for
from dvt.shapes import FeatureMaps


class DptSegmenter(Segmenter):
    """The trunk of DPT, and a linear map to class scores."""

    def __init__(self, features: FeatureMaps, num_layers: int, num_classes: int, config: DptProbeConfig, seed: int):
        """Initialise a head.

        Args:
            features: those of the training images; their mean and deviation are kept.
            num_layers: L.
            num_classes: K.
            config: its width.
            seed: of the weights.

        Raises:
            ConfigError: more blocks than there are scales for.
        """
        super().__init__(features)
        if num_layers > MOST_LAYERS:
            raise ConfigError(f"protocol=dpt reads up to {MOST_LAYERS} blocks, not {num_layers} (backbone.layer).")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_for(seed, "dpt segmentation"))
            self.trunk = DptTrunk(num_layers, features.shape[-1] // num_layers, config.width)
            self.scores = nn.Linear(config.width, num_classes)

    def cell_scores(self, standardised: FeatureMaps) -> Tensor:
        """(B, 4 H, 4 W, K) class scores; the trunk already has 4 x 4 cells a patch."""
        scores: Tensor = self.scores(self.trunk(standardised))
        return scores
