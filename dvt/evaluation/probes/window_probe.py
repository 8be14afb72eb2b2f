"""The paper's probe for segmentation: batch norm and a 1x1 convolution, trained on crops, tested in sliding windows."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from dvt.backbone.features import Features
from dvt.errors import EvaluationError
from dvt.evaluation.config.segmentation import WindowsConfig
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.datasets.training_crops import TrainingCrops, pad_image, scaled_hw
from dvt.evaluation.patches import finite_features, fitting_hw, upsample_scores
from dvt.grid import PatchGrid
from dvt.images.resize import resize
from dvt.methods.method import Images, Method
from dvt.progress import Reporter
from dvt.shapes import FeatureMaps, ImageTensor

_INITIAL_STD = 0.01


class Windowed:
    """A method on windows of one size: windows are padded to what the patches need, and the pad is cut off the output.

    Attributes:
        side: of a padded window, in pixels: 518 for windows of 512 and patches of 14.
        num_channels: C.
    """

    def __init__(self, method: Method, size: int):
        """Use windows of at most `size` x `size` pixels.

        Raises:
            GeometryError: the method takes no square of that size or a little more.
        """
        self._method = method
        self.side = fitting_hw(method, (size, size), larger=True)[0]
        self.num_channels = method.spec.channels

    def __call__(self, windows: Images) -> Features:
        """Features of windows, without gradients."""
        padded = [pad_image(window, self._beyond(*window.shape[1:])) for window in windows]
        with torch.no_grad():
            return finite_features(self._method, padded, (self.side, self.side))

    def at_pixels(self, maps: FeatureMaps, grid: PatchGrid, height: int, width: int) -> Tensor:
        """(B, H, W, K) values at patches to (B, K, height, width) at the pixels of windows of that size."""
        left, _, top, _ = self._beyond(height, width)
        return upsample_scores(maps, grid, (self.side, self.side))[:, :, top : top + height, left : left + width]

    def _beyond(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Padding left, right, top, bottom."""
        rows, columns = self.side - height, self.side - width
        return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2


class BatchNormHead(nn.Module):
    """Batch normalisation over all patches of a batch, then a linear map (a 1x1 convolution) to the classes."""

    def __init__(self, num_channels: int, num_classes: int, seed: int):
        """Initialise: weights from N(0, 0.01) with `seed`, bias 0."""
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
    """Train a head on random crops; features are made in every step and not kept.

    Args:
        windowed: a method on windows of the size of the crops.
        samples: training images.
        num_classes: K.
        config: crops, steps and rates.
        seed: of weights and crops.
        reporter: shows the progress.

    Returns:
        The head, in evaluation mode, and the classes in the crops.

    Raises:
        EvaluationError: the training diverged, or no pixel had a class.
    """
    head = BatchNormHead(windowed.num_channels, num_classes, seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, config))
    crops = DataLoader(
        TrainingCrops(samples, config, seed),
        batch_size=config.batch_size,
        num_workers=config.num_workers,
        generator=torch.Generator(),  # the loader draws a number; not from the global generator
    )
    reporter.start(config.num_steps, "steps", f"probe, seed {seed}")
    seen = torch.zeros(num_classes + 1, dtype=torch.int64)
    for images, targets in crops:
        seen += torch.bincount(targets.flatten() + 1, minlength=num_classes + 1)
        features = windowed(list(images))
        head.to(features.patches.device)  # known only now; the optimizer holds the same parameters
        logits = windowed.at_pixels(head(features.patches), features.grid, config.size, config.size)
        optimizer.zero_grad()
        pixel_loss(logits, targets.to(logits.device)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        reporter.advance()
    if not int(seen[1:].sum()):
        raise EvaluationError(f"no pixel of {len(samples)} training images has a class. Give other images.")
    if not all(bool(each.isfinite().all()) for each in head.parameters()):
        raise EvaluationError(
            f"the probe diverged with windows.learning_rate={config.learning_rate}: give a smaller one."
        )
    return head.eval(), frozenset(seen[1:].nonzero()[:, 0].tolist())


def pixel_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels that have a class; 0 where none has.

    Args:
        logits: (B, K, y, x).
        targets: (B, y, x) classes, -1 for none.
    """
    total = functional.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
    return total / (targets >= 0).sum().clamp(min=1)


def learning_rate_factor(step: int, config: WindowsConfig) -> float:
    """Factor of the learning rate: linear from 1 to 0, times a warm-up that is linear to 1 over the first steps."""
    factor = 1 - step / config.num_steps
    if step >= config.warmup_steps:
        return factor
    return factor * (config.warmup_start + (1 - config.warmup_start) * step / config.warmup_steps)


@torch.no_grad()
def window_logits(
    windowed: Windowed, heads: Sequence[BatchNormHead], image: ImageTensor, config: WindowsConfig
) -> list[Tensor]:
    """Class scores of every pixel, averaged over the windows that hold it.

    Args:
        windowed: a method on windows.
        heads: they share the features.
        image: (3, y, x) RGB in [0, 1].
        config: size of the image and the windows.

    Returns:
        For every head (K, height, width), at the size that the image was resized to.
    """
    height, width = scaled_hw(image, config.short_side, config.long_side)
    image = resize(image, (height, width)).clamp(0, 1)
    rows, columns = min(height, config.size), min(width, config.size)
    tops, lefts = (window_starts(length, config.size, config.stride) for length in (height, width))
    sums: list[Tensor] = []
    counts = torch.zeros(height, width)
    for top in tops:  # one row of windows at a time: memory does not grow with the height
        windows = [image[:, top : top + rows, left : left + columns] for left in lefts]
        features = windowed(windows)
        if not sums:
            device = features.patches.device
            sums = [torch.zeros(head.linear.out_features, height, width, device=device) for head in heads]
        for left in lefts:
            counts[top : top + rows, left : left + columns] += 1
        for head, total in zip(heads, sums, strict=True):
            logits = windowed.at_pixels(head(features.patches), features.grid, rows, columns)
            for left, window in zip(lefts, logits, strict=True):
                total[:, top : top + rows, left : left + columns] += window
    return [total / counts.to(total) for total in sums]


def window_starts(length: int, size: int, stride: int) -> list[int]:
    """Where windows start: one every `stride` pixels, the last one at the end.

    Examples:
        >>> window_starts(854, 512, 341)
        [0, 341, 342]
    """
    if length <= size:
        return [0]
    return [min(number * stride, length - size) for number in range(math.ceil((length - size) / stride) + 1)]
