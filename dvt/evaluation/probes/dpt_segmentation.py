"""Segmentation by a DPT head: its trunk on frozen features of one to four blocks, and a linear map to class scores."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.config.segmentation import DptProbeConfig
from dvt.evaluation.probes.dpt import MOST_LAYERS, DptTrunk
from dvt.runtime import seed_for
from dvt.shapes import FeatureMaps


class DptSegmenter(nn.Module):
    """(B, H, W, L C) features of L blocks to (B, 4 H, 4 W, K) class scores.

    Features are standardised by the mean and the deviation of the training features, channel by channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: FeatureMaps, num_layers: int, num_classes: int, width: int, seed: int):
        """Initialise a head.

        Args:
            features: those of the training images; their mean and deviation are kept.
            num_layers: L.
            num_classes: K.
            width: channels inside.
            seed: of the weights.

        Raises:
            ConfigError: more blocks than there are scales for.
        """
        super().__init__()
        if num_layers > MOST_LAYERS:
            raise ConfigError(f"protocol=dpt reads up to {MOST_LAYERS} blocks, not {num_layers} (backbone.layer).")
        flat = features.flatten(0, 2)
        self.register_buffer("mean", flat.mean(dim=0))
        self.register_buffer("std", flat.std(dim=0) + 1e-6)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_for(seed, "dpt segmentation"))
            self.trunk = DptTrunk(num_layers, features.shape[-1] // num_layers, width)
            self.scores = nn.Linear(width, num_classes)

    def forward(self, features: FeatureMaps) -> Tensor:
        """Class scores at 4 x 4 cells a patch."""
        scores: Tensor = self.scores(self.trunk((features - self.mean) / self.std))
        return scores


def train_segmenter(
    features: FeatureMaps, labels: Tensor, num_layers: int, num_classes: int, config: DptProbeConfig, seed: int
) -> DptSegmenter:
    """Train a head on whole images: AdamW, learning rate linear to 0; every image once before one repeats.

    Args:
        features: (N, H, W, L C) of the training images.
        labels: (N, 4 H, 4 W) int64 classes of the cells; -1 for none, not trained on.
        num_layers: L.
        num_classes: K.
        config: steps and rates.
        seed: of the weights and of the order.

    Raises:
        EvaluationError: no cell has a label, or the training diverged.
        ConfigError: more blocks than there are scales for.
    """
    if not bool((labels >= 0).any()):
        raise EvaluationError(f"none of the {len(labels)} training images has a label. Give more training images.")
    head = DptSegmenter(features, num_layers, num_classes, config.width, seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=config.num_steps)
    generator = torch.Generator().manual_seed(seed)
    waiting: list[int] = []
    size = min(config.batch_size, len(features))
    for _ in range(config.num_steps):
        if len(waiting) < size:
            waiting += torch.randperm(len(features), generator=generator).tolist()
        chosen, waiting = waiting[:size], waiting[size:]
        scores = head(features[chosen]).flatten(0, 2)
        wanted = labels[chosen].flatten()
        loss = functional.cross_entropy(scores, wanted, ignore_index=-1, reduction="sum")
        optimizer.zero_grad()
        (loss / max(1, int((wanted >= 0).sum()))).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
    if not all(bool(parameter.isfinite().all()) for parameter in head.parameters()):
        raise EvaluationError(f"the head diverged with dpt.learning_rate={config.learning_rate}: give a smaller one.")
    return head.eval().requires_grad_(False)
