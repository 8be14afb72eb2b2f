"""What tasks on patches share: the features of many pictures, and labels per patch."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.evaluation.methods import Method
from dvt.evaluation.samples import Sample
from dvt.evaluation.task import Tell
from dvt.grid import PatchGrid
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
    """
    batch: list[ImageTensor] = []
    done = 0
    tell("features", 0, count)
    for picture in pictures:
        batch.append(picture)
        if len(batch) == BATCH_SIZE or done + len(batch) == count:
            yield method(batch, image_hw)
            done += len(batch)
            tell("features", done, count)
            batch = []
    assert not batch, "count says how many pictures there are"


def maps_and_targets(
    method: Method, samples: Sequence[Sample], image_hw: tuple[int, int], tell: Tell
) -> tuple[FeatureMaps, list[Tensor]]:
    """Feature maps of all samples, on the CPU in float32, and their (y, x) targets.

    Memory: 4 N H W C bytes, and the targets.
    """
    targets: list[Tensor] = []

    def pictures() -> Iterator[ImageTensor]:
        for number in range(len(samples)):
            sample = samples[number]
            targets.append(sample.target)
            yield sample.picture

    maps = [each.patches.cpu() for each in features_of(method, pictures(), len(samples), image_hw, tell)]
    return torch.cat(maps), targets


def majority_labels(labels: Tensor, grid: PatchGrid, num_classes: int) -> Tensor:
    """(H, W) the most frequent class in every patch; -1 where more than half of it has none.

    Args:
        labels: (y, x) int64 classes from 0, -1 for none, of any size: resized to the grid's (nearest).
        grid: the patches; they lie side by side, or overlap.
        num_classes: how many classes there are.
    """
    pixels = functional.interpolate(labels[None, None].float(), grid.image_hw, mode="nearest")[0, 0].long()
    pixels = torch.where(pixels < 0, num_classes, pixels)
    one_hot = functional.one_hot(pixels, num_classes + 1).permute(2, 0, 1).float()
    shares = functional.avg_pool2d(one_hot[None], grid.patch, grid.stride)[0]
    return torch.where(shares[num_classes] > 0.5, -1, shares[:num_classes].argmax(dim=0))
