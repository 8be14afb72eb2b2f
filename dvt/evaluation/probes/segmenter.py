"""Segmenters: heads that see whole images of frozen features, and their training."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvt.errors import EvaluationError
from dvt.evaluation.config.segmentation import SegmenterConfig
from dvt.shapes import FeatureMaps


class Segmenter(nn.Module):
    """(B, H, W, L C) features of L blocks to (B, 4 H, 4 W, K) class scores, `CELLS` cells a patch along each side.

    Features are standardised by the mean and the deviation of the training features, channel by channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: FeatureMaps):
        """Keep the mean and the deviation of the features of the training images."""
        super().__init__()
        flat = features.flatten(0, 2)
        self.register_buffer("mean", flat.mean(dim=0))
        self.register_buffer("std", flat.std(dim=0) + 1e-6)

    def forward(self, features: FeatureMaps) -> Tensor:
        """Class scores of the cells of every patch."""
        return self.cell_scores((features - self.mean) / self.std)

    def cell_scores(self, standardised: FeatureMaps) -> Tensor:
        """Class scores of the cells of every patch, from standardised features."""
        raise NotImplementedError


def train_segmenter(
    head: Segmenter, features: FeatureMaps, labels: Tensor, config: SegmenterConfig, seed: int
) -> Segmenter:
    """Train a head on whole images: AdamW, learning rate linear to 0; every image once before one repeats.

    Args:
        head: the head, initialised; it is trained in place.
        features: (N, H, W, L C) of the training images.
        labels: (N, 4 H, 4 W) int64 classes of the cells; -1 for none, not trained on.
        config: steps and rates.
        seed: of the order.

    Returns:
        `head`, frozen.

    Raises:
        EvaluationError: no cell has a label, or the training diverged.
    """
    if not bool((labels >= 0).any()):
        raise EvaluationError(f"none of the {len(labels)} training images has a label. Give more training images.")
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
        raise EvaluationError(
            f"the head diverged with {config.group}.learning_rate={config.learning_rate}: give a smaller one."
        )
    return head.eval().requires_grad_(False)
