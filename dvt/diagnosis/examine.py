"""Every artifact score at every layer, from one pass over some pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from dvt.diagnosis.config import DoctorConfig
from dvt.diagnosis.layers import Layer, Reader
from dvt.diagnosis.scores import ArtifactMeter, ArtifactReport
from dvt.diagnosis.windows import choose_images, cut_windows
from dvt.evaluation.artifact_scores import views
from dvt.evaluation.task import Tell, tell_nobody
from dvt.grid import PatchGrid
from dvt.images.read import read_image
from dvt.images.resize import resize
from dvt.images.sources import ImageFile
from dvt.runtime import seed_for


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
    tell: Tell = tell_nobody,
) -> Examination:
    """Measure the artifact scores of every layer of a ViT.

    Args:
        reader: the ViT.
        images: pictures of any kind; no labels are needed.
        config: how many of them, and the seed.
        max_pixels: larger pictures are refused.
        tell: told how far it is.

    Raises:
        ImageError: too few pictures, or one that cannot be read.
        EvaluationError: features that are not finite.
    """
    config = config or DoctorConfig()
    chosen = choose_images(images, config.num_images, config.seed)
    grid = reader.grid
    meters = [ArtifactMeter(f"{reader.name}, {layer.name}", len(chosen), seed=config.seed) for layer in reader.layers]
    numbered, done = enumerate(chosen), 0
    tell("features", 0, len(chosen))
    while batch := list(islice(numbered, config.batch_size)):
        wholes = [read_image(image.path, max_pixels=max_pixels) for _, image in batch]
        pairs = [
            cut_windows(whole, grid, number, seed_for(config.seed, image.key))
            for whole, (number, image) in zip(wholes, batch, strict=True)
        ]
        pictures = torch.stack([resize(view, grid.image_hw) for view in views(pairs, wholes)])
        for meter, maps in zip(meters, reader(pictures.to(reader.device)), strict=True):
            first, second, whole = maps.chunk(3)
            meter.update(first, second, [pair.shift for pair in pairs], whole, [number for number, _ in batch])
        done += len(batch)
        tell("features", done, len(chosen))
    reports = []
    for number, meter in enumerate(meters):
        tell("scores", number, len(meters))
        reports.append(meter.result())
    return Examination(reader.name, grid, len(chosen), list(reader.layers), reports)
