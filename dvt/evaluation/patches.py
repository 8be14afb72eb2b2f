"""What tasks on patches share: the features of many pictures, and labels per patch."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.errors import EvaluationError, GeometryError
from dvt.evaluation.datasets.samples import Sample
from dvt.grid import PatchGrid
from dvt.methods.method import Method, Pictures
from dvt.progress import Reporter
from dvt.shapes import FeatureMaps, ImageTensor

BATCH_SIZE = 16
"""Images that are read and given to a method at once."""
_LARGEST_STEP = 64
"""Largest patch size, in pixels, that `fitting_hw` searches for."""


def features_of(
    method: Method, pictures: Iterable[ImageTensor], count: int, image_hw: tuple[int, int], reporter: Reporter
) -> Iterator[Features]:
    """Features of many pictures, a batch of `BATCH_SIZE` at a time; no picture is kept.

    Args:
        method: makes the features.
        pictures: read when their turn comes.
        count: how many there are.
        image_hw: size that they are looked at in.
        reporter: advances by the images of every batch; the caller starts it.

    Raises:
        EvaluationError: features are not finite.
    """
    batch: list[ImageTensor] = []
    done = 0
    for picture in pictures:
        batch.append(picture)
        if len(batch) == BATCH_SIZE or done + len(batch) == count:
            yield finite_features(method, batch, image_hw)
            done += len(batch)
            reporter.advance(len(batch))
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
    method: Method, samples: Sequence[Sample], image_hw: tuple[int, int], reporter: Reporter
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

    reporter.start(len(samples), "images", f"{method.name} features")
    for features in features_of(method, pictures(), len(samples), image_hw, reporter):
        yield features, list(targets)
        targets.clear()


def maps_and_targets(
    method: Method, samples: Sequence[Sample], image_hw: tuple[int, int], reporter: Reporter
) -> tuple[FeatureMaps, list[Tensor]]:
    """Feature maps of all samples, on the CPU in float32, and their (y, x) targets.

    Memory: 4 N H W C bytes, and the targets.
    """
    maps, targets = [], []
    for features, some in features_and_targets(method, samples, image_hw, reporter):
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


def fitting_hw(method: Method, image_hw: tuple[int, int], *, larger: bool) -> tuple[int, int]:
    """The nearest size that fits the patches of a method, side by side.

    Args:
        method: which method.
        image_hw: height and width in pixels that one would like to have.
        larger: round up, else down; a size below one patch is always rounded up.

    Raises:
        GeometryError: there is none nearby.
    """
    height, width = (_fitting_side(method, side, larger) for side in image_hw)
    return height, width


def _fitting_side(method: Method, side: int, larger: bool) -> int:
    up = range(side, side + _LARGEST_STEP + 1)
    down = range(side, max(0, side - _LARGEST_STEP - 1), -1)
    for candidate in (*up,) if larger else (*down, *up):
        try:
            return method.grid_for((candidate, candidate)).image_hw[0]
        except GeometryError:
            continue
    raise GeometryError(f"no size near {side} px fits the patches of {method.name}: give another image size.")


def upsample(maps: FeatureMaps, grid: PatchGrid, hw: tuple[int, int]) -> Tensor:
    """Interpolate bilinearly between the centres of patches; beyond the outermost ones the nearest value holds.

    With patches side by side that is `interpolate(mode="bilinear", align_corners=False)`; where patches overlap, this
    still reads every value at the place that its patch looks at.

    Args:
        maps: (B, H, W, C), one vector per patch.
        grid: the patches.
        hw: rows and columns that the whole picture is read in.

    Returns:
        (B, rows, columns, C).
    """
    rows, columns = _axes(maps, grid, hw)
    return torch.einsum("xw,bywc->byxc", columns, torch.einsum("yh,bhwc->bywc", rows, maps))


def upsample_scores(scores: FeatureMaps, grid: PatchGrid, hw: tuple[int, int]) -> Tensor:
    """As `upsample`, of scores of K classes: (B, H, W, K) -> (B, K, y, x), the order in which `winners` is quick."""
    rows, columns = _axes(scores, grid, hw)
    return torch.einsum("bkhx,yh->bkyx", torch.einsum("bhwk,xw->bkhx", scores, columns), rows)


def winners(scores: Tensor) -> Tensor:
    """(K, y, x) class scores to the (y, x) class with the largest, on the CPU."""
    return scores.max(dim=0).indices.cpu()  # four times as fast as argmax over the first dimension


def _axes(maps: Tensor, grid: PatchGrid, hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The weights along rows and along columns."""
    rows, columns = (
        _weights(pixels, count, size, grid).to(maps)
        for pixels, count, size in zip(hw, grid.hw, grid.image_hw, strict=True)
    )
    return rows, columns


def _weights(num_pixels: int, num_patches: int, image_size: int, grid: PatchGrid) -> Tensor:
    """(pixels, patches) share of every patch in every pixel, along one axis."""
    centre_px = (torch.arange(num_pixels, dtype=torch.float64) + 0.5) * image_size / num_pixels
    position = ((centre_px - grid.patch / 2) / grid.stride).clamp(0, num_patches - 1)
    return (1 - (position[:, None] - torch.arange(num_patches)).abs()).clamp(min=0)
