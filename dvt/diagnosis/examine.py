"""Artifact scores of every layer of a ViT, from one pass over the images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from dvt.diagnosis.config import DoctorConfig
from dvt.diagnosis.layers import Layer, Reader
from dvt.diagnosis.scores import ArtifactMeter, ArtifactReport
from dvt.diagnosis.windows import choose_images, cut_windows
from dvt.grid import PatchGrid
from dvt.images.read import read_image
from dvt.images.resize import resize
from dvt.images.sources import ImageFile
from dvt.progress import SILENT, Reporter
from dvt.runtime import seed_for
from dvt.shapes import AnySizeImage, FeatureMaps


@dataclass(frozen=True, slots=True, eq=False)
class Examination:
    """What was measured."""

    model: str
    """Name of the ViT."""
    grid: PatchGrid
    """Its patches."""
    num_images: int
    """Pictures that were looked at."""
    layers: Sequence[Layer]
    """What was looked at."""
    reports: Sequence[ArtifactReport]
    """The scores of each layer."""


def examine(
    reader: Reader,
    images: Sequence[ImageFile],
    config: DoctorConfig | None = None,
    *,
    max_pixels: int = 100_000_000,
    reporter: Reporter = SILENT,
) -> Examination:
    """Measure the artifact scores of every layer of a ViT.

    Args:
        reader: the ViT.
        images: pictures of any kind; no labels are needed.
        config: how many of them, and the seed.
        max_pixels: larger pictures are refused.
        reporter: receives the progress.

    Raises:
        ImageError: too few pictures, or one that cannot be read.
        EvaluationError: features that are not finite.
    """
    config = config or DoctorConfig()
    chosen = choose_images(images, config.num_images, config.seed)
    grid = reader.grid
    meters = [ArtifactMeter(f"{reader.name}, {layer.name}", len(chosen), seed=config.seed) for layer in reader.layers]

    def features(views: list[AnySizeImage]) -> Sequence[FeatureMaps]:
        return reader(torch.stack([resize(view, grid.image_hw) for view in views]).to(reader.device))

    reporter.start(len(chosen), "images", "features")
    fill_meters(
        meters,
        features,
        grid,
        chosen,
        seed=config.seed,
        batch_size=config.batch_size,
        max_pixels=max_pixels,
        reporter=reporter,
    )
    reporter.start(len(meters), "layers", "scores")
    reports = []
    for meter in meters:
        reports.append(meter.result())
        reporter.advance()
    return Examination(reader.name, grid, len(chosen), list(reader.layers), reports)


def fill_meters(
    meters: Sequence[ArtifactMeter],
    features: Callable[[list[AnySizeImage]], Sequence[FeatureMaps]],
    grid: PatchGrid,
    images: Sequence[ImageFile],
    *,
    seed: int = 0,
    batch_size: int = 4,
    max_pixels: int = 100_000_000,
    reporter: Reporter = SILENT,
) -> None:
    """Give every meter its features of three views of each image: two windows and the whole image.

    Args:
        meters: one for each kind of features.
        features: views of any size to the (B, H, W, C) maps of every meter.
        grid: the patches of the maps.
        images: the images, at least four.
        seed: of the windows and flips.
        batch_size: images per call of `features`, three views of each.
        max_pixels: larger images are refused.
        reporter: receives the number of images that are done.

    Raises:
        ImageError: an image cannot be read.
        GeometryError: the grid has fewer than 2 x 2 patches.
        EvaluationError: features that are not finite.
    """
    numbered = enumerate(images)
    while batch := list(islice(numbered, batch_size)):
        wholes = [read_image(image.path, max_pixels=max_pixels) for _, image in batch]
        pairs = [
            cut_windows(whole, grid, number, seed_for(seed, image.key))
            for whole, (number, image) in zip(wholes, batch, strict=True)
        ]
        views = [*(pair.first for pair in pairs), *(pair.second for pair in pairs), *wholes]
        for meter, maps in zip(meters, features(views), strict=True):
            first, second, whole = maps.chunk(3)
            meter.update(first, second, [pair.shift for pair in pairs], whole, [number for number, _ in batch])
        reporter.advance(len(batch))
