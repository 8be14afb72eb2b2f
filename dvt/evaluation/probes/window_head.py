"""The head of the paper's protocol: batch normalisation and a 1x1 convolution, trained on random crops."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from dvt.errors import EvaluationError
from dvt.evaluation.config.segmentation import WindowsConfig
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.probes.crops import TrainingCrops
from dvt.evaluation.probes.windowed import Windowed
from dvt.progress import Reporter
from dvt.shapes import FeatureMaps

_INITIAL_STD = 0.01


class BatchNormHead(nn.Module):
    """Batch normalisation over all patches of a batch, then a linear map (a 1x1 convolution) to the classes."""

    def __init__(self, num_channels: int, num_classes: int, seed: int):
        """A head that was not trained: weights from N(0, 0.01), bias 0.

        Args:
            num_channels: C.
            num_classes: K.
            seed: of the weights.
        """
        super().__init__()
        self.norm = nn.BatchNorm1d(num_channels)
        self.linear = nn.Linear(num_channels, num_classes)
        nn.init.normal_(self.linear.weight, std=_INITIAL_STD, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.linear.bias)

    def forward(self, maps: FeatureMaps) -> Tensor:
        """(B, H, W, C) features to (B, H, W, K) logits."""
        logits: Tensor = self.linear(self.norm(maps.flatten(0, 2)))
        return logits.reshape(*maps.shape[:3], -1)


def train_head(
    windowed: Windowed,
    samples: Sequence[Sample],
    num_classes: int,
    config: WindowsConfig,
    seed: int,
    reporter: Reporter,
) -> tuple[BatchNormHead, frozenset[int]]:
    """Train a head on random crops, whose features are made as it goes and not kept.

    Args:
        windowed: a method at windows of the size of the crops.
        samples: training pictures.
        num_classes: K.
        config: crops, steps and rates.
        seed: of weights and crops.
        reporter: shows the progress.

    Returns:
        The head, in evaluation mode, and the classes that were in the crops.

    Raises:
        EvaluationError: the training diverged, or no pixel had a class.
    """
    head = BatchNormHead(windowed.num_channels, num_classes, seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    crops = DataLoader(
        TrainingCrops(samples, config, seed),
        batch_size=config.batch_size,
        num_workers=config.num_workers,
        generator=torch.Generator(),  # it draws a number that nothing here depends on; not from the global generator
    )
    reporter.start(config.num_steps, "steps", f"probe, seed {seed}")
    seen = torch.zeros(num_classes + 1, dtype=torch.int64)
    for step, (pictures, targets) in enumerate(crops):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        seen += torch.bincount(targets.flatten() + 1, minlength=num_classes + 1)
        features = windowed(list(pictures))
        head.to(features.patches.device)  # which is known now; the optimizer holds the same parameters
        logits = windowed.at_pixels(head(features.patches), features.grid, config.size, config.size)
        optimizer.zero_grad()
        pixel_loss(logits, targets.to(logits.device)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        reporter.advance()
    if not int(seen[1:].sum()):
        raise EvaluationError(f"no pixel of {len(samples)} training pictures has a class. Give other pictures.")
    if not all(bool(each.isfinite().all()) for each in head.parameters()):
        raise EvaluationError(f"the probe diverged with windows.lr={config.lr}: give a smaller one.")
    return head.eval(), frozenset(seen[1:].nonzero()[:, 0].tolist())


def pixel_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels that have a class; 0 where none has.

    Args:
        logits: (B, K, y, x).
        targets: (B, y, x) classes, -1 for none.
    """
    total = functional.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
    return total / (targets >= 0).sum().clamp(min=1)


def learning_rate(step: int, config: WindowsConfig) -> float:
    """Of a step: in a line from `lr` to 0, times a factor that rises in a line to 1 over the first steps."""
    rate = config.lr * (1 - step / config.num_steps)
    if step >= config.warmup_steps:
        return rate
    return rate * (config.warmup_start + (1 - config.warmup_start) * step / config.warmup_steps)
