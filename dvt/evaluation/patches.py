"""What tasks on patches share: the features of many pictures, and labels per patch."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.errors import EvaluationError
from dvt.evaluation.samples import Sample
from dvt.evaluation.task import Tell
from dvt.grid import PatchGrid
from dvt.methods.method import Method, Pictures
from dvt.shapes import FeatureMaps, ImageTensor

BATCH_SIZE = 16
"""Pictures that are read and handed to a method at once."""


def features_of(
    method: Method, pictures: Iterable[ImageTensor], count: int, image_hw: tuple[int, int], tell: Tell
) -> Iterator[Features]:
    """Features of many pictures, a batch of `BATCH_SIZE` at a time; no picture is kept.

    Args:
        method: makes the features.
        pictures: read when their turn comes.
        count: how many there are, for `tell`.
        image_hw: size that they are looked at in.
        tell: told after every batch.

    Raises:
        EvaluationError: features are not finite.
    """
    batch: list[ImageTensor] = []
    done = 0
    tell("features", 0, count)
    for picture in pictures:
        batch.append(picture)
        if len(batch) == BATCH_SIZE or done + len(batch) == count:
            yield finite_features(method, batch, image_hw)
            done += len(batch)
            tell("features", done, count)
            batch = []
    assert not batch, "count says how many pictures there are"


def finite_features(method: Method, pictures: Pictures, image_hw: tuple[int, int]) -> Features:
    """Features of some pictures, which are numbers.

    Raises:
        EvaluationError: they are not finite.
    """
    features = method(pictures, image_hw)
    if not bool(features.patches.isfinite().all() & features.prefix.isfinite().all()):
        raise EvaluationError(
            f"{method.name} gives features that are NaN or infinite. Where precision=fp16 is given, take fp32 or bf16;"
            " else look at the weights."
        )
    return features


def features_and_targets(
    method: Method, samples: Sequence[Sample], image_hw: tuple[int, int], tell: Tell
) -> Iterator[tuple[Features, list[Tensor]]]:
    """Features of samples, a batch at a time, and the (y, x) targets of the batch.

    Raises:
        EvaluationError: features are not finite.
    """
    targets: list[Tensor] = []

    def pictures() -> Iterator[ImageTensor]:
        for number in range(len(samples)):
            sample = samples[number]
            targets.append(sample.target)
            yield sample.picture

    for features in features_of(method, pictures(), len(samples), image_hw, tell):
        yield features, list(targets)
        targets.clear()


def maps_and_targets(
    method: Method, samples: Sequence[Sample], image_hw: tuple[int, int], tell: Tell
) -> tuple[FeatureMaps, list[Tensor]]:
    """Feature maps of all samples, on the CPU in float32, and their (y, x) targets.

    Memory: 4 N H W C bytes, and the targets.
    """
    maps, targets = [], []
    for features, some in features_and_targets(method, samples, image_hw, tell):
        maps.append(features.patches.cpu())
        targets += some
    return torch.cat(maps), targets


def majority_labels(labels: Tensor, grid: PatchGrid, num_classes: int) -> Tensor:
    """(H, W) the most frequent class in every patch; -1 where more than half of it has none.

    Args:
        labels: (y, x) int64 classes from 0, -1 for none, of any size: resized to the grid's (nearest).
        grid: the patches; they lie side by side, or overlap.
        num_classes: how many classes there are.
    """
    shares = class_shares(labels, grid, num_classes)
    return torch.where(shares[num_classes] > 0.5, -1, shares[:num_classes].argmax(dim=0))


def class_shares(labels: Tensor, grid: PatchGrid, num_classes: int) -> Tensor:
    """(num_classes + 1, H, W) the share of every class in the pixels of every patch; in the last place that of none.

    Args:
        labels: as for `majority_labels`.
        grid: the patches.
        num_classes: how many classes there are.
    """
    pixels = functional.interpolate(labels[None, None].float(), grid.image_hw, mode="nearest-exact")[0].long()
    pixels = torch.where(pixels < 0, num_classes, pixels)
    one_hot = torch.zeros(num_classes + 1, *grid.image_hw).scatter_(0, pixels, 1.0)
    return functional.avg_pool2d(one_hot[None], grid.patch, grid.stride)[0]
