"""Training of a detector on frozen features that are kept in memory, or computed in every step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dvt.errors import EvaluationError
from dvt.evaluation.config.detection import DetectionConfig
from dvt.evaluation.datasets.boxed_images import TrueBoxes, read_boxes
from dvt.evaluation.datasets.scenes import Scene
from dvt.evaluation.patches import BATCH_SIZE, finite_features
from dvt.evaluation.probes.detector import Detector
from dvt.grid import PatchGrid
from dvt.methods.method import Method
from dvt.progress import Reporter
from dvt.runtime import seed_for
from dvt.schedules import warmup_then_cosine
from dvt.shapes import ImageTensor

_GIGABYTE = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class TrainingFeatures:
    """Features of training images, and of their mirror images where these are asked for, with their boxes."""

    method: Method
    """Makes them."""
    size: tuple[int, int]
    """Image size."""
    scenes: Sequence[Scene]
    """The images."""
    class_names: Sequence[str]
    """Classes of the boxes."""
    truth: Sequence[TrueBoxes]
    """Boxes of the images; then of the mirror images."""
    kept: Tensor | None
    """(images, H, W, C) on the CPU, in the order of `truth`; None where they do not fit into the memory allowed."""
    mean: Tensor
    """(C,) over all training patches."""
    std: Tensor
    """(C,) over all training patches."""
    device: torch.device
    """Where the method computes."""

    @property
    def grid(self) -> PatchGrid:
        """Their patches or cells."""
        return self.method.grid_for(self.size)

    def batch(self, numbers: Sequence[int]) -> Tensor:
        """(B, H, W, C) features of some images, by their place in `truth`."""
        if self.kept is not None:
            return self.kept[list(numbers)].to(self.device)
        images = []
        for number in numbers:
            image, _ = read_boxes(self.scenes[number % len(self.scenes)], self.class_names)
            images.append(image if number < len(self.scenes) else mirror_image(image))
        return finite_features(self.method, images, self.size).patches


def training_features(
    method: Method,
    scenes: Sequence[Scene],
    class_names: Sequence[str],
    size: tuple[int, int],
    config: DetectionConfig,
    reporter: Reporter,
) -> TrainingFeatures:
    """Compute the features of all training images once.

    Args:
        method: makes the features.
        scenes: training images.
        class_names: classes of the boxes.
        size: image size.
        config: memory, and whether mirror images are used.
        reporter: shows the progress.

    Raises:
        EvaluationError: no training image has a box; a box is outside of its image; features are not finite.
    """
    grid, num_channels = method.grid_for(size), method.spec.channels
    total = len(scenes) * (2 if config.mirrored else 1)
    fits = total * grid.num_patches * num_channels * 4 <= config.feature_memory_gb * _GIGABYTE
    truth: list[TrueBoxes] = []
    kept: list[Tensor] = []
    count, sums, squares = 0, torch.zeros(num_channels).double(), torch.zeros(num_channels).double()
    device = torch.device("cpu")
    reporter.start(total, "images", f"{method.name} features")
    for start in range(0, total, BATCH_SIZE):
        images = []
        for number in range(start, min(start + BATCH_SIZE, total)):
            image, boxes = read_boxes(scenes[number % len(scenes)], class_names)
            is_mirrored = number >= len(scenes)
            images.append(mirror_image(image) if is_mirrored else image)
            truth.append(boxes.mirrored() if is_mirrored else boxes)
        patches = finite_features(method, images, size).patches
        device = patches.device
        tokens = patches.cpu().flatten(0, 2)
        count, sums, squares = (
            count + len(tokens),
            sums + tokens.double().sum(0),
            squares + tokens.double().square().sum(0),
        )
        if fits:
            kept.append(patches.cpu())
        reporter.advance(len(images))
    if not any((~each.ignored).any() for each in truth):
        raise EvaluationError(f"none of the {len(scenes)} training images has an object: there is nothing to learn.")
    mean = sums / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt() + 1e-6
    return TrainingFeatures(
        method, size, scenes, class_names, truth, torch.cat(kept) if fits else None, mean.float(), std.float(), device
    )


def train_detector(
    features: TrainingFeatures, num_classes: int, config: DetectionConfig, seed: int, reporter: Reporter
) -> Detector:
    """Train a detector: AdamW, learning rate up in a line and down in a cosine.

    The result depends on the features and the seed; the generators of torch are as before afterwards.

    Args:
        features: of training images.
        num_classes: K.
        config: steps and rates.
        seed: of initialisation, image order and sampled boxes.
        reporter: advances by every step; the caller starts it.

    Raises:
        EvaluationError: the training diverged.
        ConfigError: features of a number of cells per patch that the pyramid does not take.
    """
    device = features.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_for(seed, "detection"))
        detector = Detector(features.mean, features.std, features.grid, num_classes, config.detector).to(device)
        optimizer = torch.optim.AdamW(detector.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        order = _order(len(features.truth), seed)
        for step in range(config.num_steps):
            numbers = [next(order) for _ in range(config.batch_size)]
            for group in optimizer.param_groups:
                group["lr"] = _rate(step, config)
            loss = detector.losses(features.batch(numbers), [features.truth[number] for number in numbers])
            if not bool(loss.isfinite()):
                raise EvaluationError(
                    f"the detector diverged in step {step + 1} with learning_rate={config.learning_rate}: give a"
                    " smaller one."
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            reporter.advance(note=f"loss {float(loss.detach()):.3f}")
    return detector


def mirror_image(image: ImageTensor) -> ImageTensor:
    """The image, its last column first."""
    return image.flip(-1).contiguous()


def _rate(step: int, config: DetectionConfig) -> float:
    return warmup_then_cosine(
        step + 1, config.num_steps, peak=config.learning_rate, final=0.0, warmup_steps=config.warmup_steps
    )


def _order(count: int, seed: int) -> Iterator[int]:
    """Numbers of images without end; every one is used once before one repeats."""
    rng = torch.Generator().manual_seed(seed_for(seed, "order"))
    while True:
        yield from torch.randperm(count, generator=rng).tolist()
