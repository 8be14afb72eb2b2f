"""Patches of many images: their features, their labels, sizes that fit them, and maps read at pixels."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dvt.backbone.features import Features, require_finite
from dvt.errors import GeometryError
from dvt.evaluation.datasets.samples import Sample
from dvt.grid import PatchGrid
from dvt.methods.method import Images, Method
from dvt.progress import Reporter
from dvt.shapes import FeatureMaps, ImageTensor

BATCH_SIZE = 16
"""Images that are read and given to a method at once."""
_LARGEST_STEP = 64
"""Largest patch size, in pixels, that `fitting_hw` searches for."""


def features_of(
    method: Method, images: Iterable[ImageTensor], count: int, image_hw: tuple[int, int], reporter: Reporter
) -> Iterator[Features]:
    """Features of many images, a batch of `BATCH_SIZE` at a time; images are not kept.

    Args:
        method: makes the features.
        images: read on demand.
        count: how many there are.
        image_hw: image size.
        reporter: advances by the images of every batch; the caller starts it.

    Raises:
        EvaluationError: features are not finite.
    """
    batch: list[ImageTensor] = []
    done = 0
    for image in images:
        batch.append(image)
        if len(batch) == BATCH_SIZE or done + len(batch) == count:
            yield finite_features(method, batch, image_hw)
            done += len(batch)
            reporter.advance(len(batch))
            batch = []
    assert not batch, "count says how many images there are"


def finite_features(method: Method, images: Images, image_hw: tuple[int, int]) -> Features:
    """Features of images.

    Raises:
        EvaluationError: they are not finite.
    """
    features = method(images, image_hw)
    require_finite(method.name, features.patches, features.prefix)
    return features


def features_and_targets(
    method: Method, samples: Sequence[Sample], image_hw: tuple[int, int], reporter: Reporter
) -> Iterator[tuple[Features, list[Tensor]]]:
    """Features of samples, a batch at a time, and the (y, x) targets of the batch.

    Raises:
        EvaluationError: features are not finite.
    """
    targets: list[Tensor] = []

    def images() -> Iterator[ImageTensor]:
        for number in range(len(samples)):
            sample = samples[number]
            targets.append(sample.target)
            yield sample.image

    reporter.start(len(samples), "images", f"{method.name} features")
    for features in features_of(method, images(), len(samples), image_hw, reporter):
        yield features, list(targets)
        targets.clear()


def majority_labels(labels: Tensor, grid: PatchGrid, num_classes: int) -> Tensor:
    """(H, W) the most frequent class in every patch; -1 where more than half of it has none.

    Args:
        labels: (y, x) int64 classes from 0, -1 for none, of any size: resized to the grid's (nearest).
        grid: the patches, side by side or overlapping.
        num_classes: K.
    """
    shares = class_shares(labels, grid, num_classes)
    return torch.where(shares[num_classes] > 0.5, -1, shares[:num_classes].argmax(dim=0))


def class_shares(labels: Tensor, grid: PatchGrid, num_classes: int) -> Tensor:
    """(K + 1, H, W) the share of every class in the pixels of every patch; the last is that of no class.

    Arguments as for `majority_labels`.
    """
    pixels = functional.interpolate(labels[None, None].float(), grid.image_hw, mode="nearest-exact")[0].long()
    pixels = torch.where(pixels < 0, num_classes, pixels)
    one_hot = torch.zeros(num_classes + 1, *grid.image_hw).scatter_(0, pixels, 1.0)
    return mean_over_patches(one_hot, grid)


def mean_over_patches(pixels: Tensor, grid: PatchGrid) -> Tensor:
    """(K, H, W) the mean of (K, y, x) pixel values over every patch or cell; y and x are the image size of the grid.

    A cell with a fractional number of pixels is widened to whole pixels.
    """
    if grid.fine == 1:
        return functional.avg_pool2d(pixels[None], grid.patch, grid.stride)[0]
    edge, (height, width) = round(grid.margin), grid.image_hw
    inner = pixels[:, edge : height - edge, edge : width - edge]
    return functional.adaptive_avg_pool2d(inner[None], grid.hw)[0]


def fitting_hw(method: Method, image_hw: tuple[int, int], *, larger: bool) -> tuple[int, int]:
    """The nearest image size that fits the patches of a method, side by side.

    Args:
        method: the method.
        image_hw: wanted height and width in pixels.
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

    With patches side by side this is `interpolate(mode="bilinear", align_corners=False)`; where patches overlap, it
    still reads every value at the centre of its patch.

    Args:
        maps: (B, H, W, C), one vector per patch.
        grid: the patches.
        hw: rows and columns to read over the whole image.

    Returns:
        (B, rows, columns, C).
    """
    rows, columns = _axes(maps, grid, hw)
    return torch.einsum("xw,bywc->byxc", columns, torch.einsum("yh,bhwc->bywc", rows, maps))


def upsample_scores(scores: FeatureMaps, grid: PatchGrid, hw: tuple[int, int]) -> Tensor:
    """As `upsample`, of scores of K classes: (B, H, W, K) -> (B, K, y, x), the order in which `winners` is fast."""
    rows, columns = _axes(scores, grid, hw)
    return torch.einsum("bkhx,yh->bkyx", torch.einsum("bhwk,xw->bkhx", scores, columns), rows)


def winners(scores: Tensor) -> Tensor:
    """(K, y, x) class scores to the (y, x) class with the largest, on the CPU."""
    return scores.max(dim=0).indices.cpu()  # four times as fast as argmax over the first dimension


def _axes(maps: Tensor, grid: PatchGrid, hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The (pixels, patches) weights along rows and along columns."""
    weights = []
    for num_pixels, num_patches, image_size in zip(hw, grid.hw, grid.image_hw, strict=True):
        centre_px = (torch.arange(num_pixels, dtype=torch.float64) + 0.5) * image_size / num_pixels
        position = ((centre_px - grid.margin) / grid.step - 0.5).clamp(0, num_patches - 1)
        weights.append((1 - (position[:, None] - torch.arange(num_patches)).abs()).clamp(min=0).to(maps))
    return weights[0], weights[1]
