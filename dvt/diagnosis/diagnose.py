"""Measure the artifact scores of every layer of a ViT in one pass over some images, and diagnose it."""

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import torch

from dvt.backbone.backbone import Backbone
from dvt.backbone.wrapped import WrappedBackbone
from dvt.diagnosis.config import DoctorConfig
from dvt.diagnosis.findings import find_artifacts, remarks
from dvt.diagnosis.layers import LayerFeatures, layers_of
from dvt.diagnosis.report import Diagnosis
from dvt.diagnosis.scores import ArtifactMeter
from dvt.diagnosis.windows import Choice, choose_images, cut_windows
from dvt.grid import PatchGrid
from dvt.images import MAX_PIXELS
from dvt.images.read import read_image
from dvt.images.resize import resize
from dvt.images.sources import ImageFile, find_images
from dvt.numbers import takes_numbers
from dvt.progress import SILENT, Reporter
from dvt.runtime import seed_for
from dvt.shapes import AnySizeImage, FeatureMaps
from dvt.torch_state import own_torch_state

_DEFAULTS = DoctorConfig()


@takes_numbers
@own_torch_state()
def diagnose(
    backbone: Backbone | WrappedBackbone,
    images: str | Path | Sequence[str | Path],
    *,
    num_images: int = _DEFAULTS.num_images,
    layers: Sequence[int] | None = None,
    seed: int = _DEFAULTS.seed,
    batch_size: int = _DEFAULTS.batch_size,
    max_pixels: int = MAX_PIXELS,
    reporter: Reporter = SILENT,
) -> Diagnosis:
    """Measure which artifacts a ViT has, at which layers and places. Needs no labels.

    Costs three forward passes per image: two windows and the whole image.

    Args:
        backbone: what `dvt.load_backbone` returned; of a denoised one its output is measured.
        images: a folder, glob, list file, or a list of these; at least 16 images, better 100, of any size and content.
        num_images: number of images, drawn at random; all of them if there are fewer.
        layers: blocks to measure, counted from 0; default: all up to the block that the backbone reads, at most 12.
            The output after the final norm is always measured.
        seed: seed for the choice of images, windows and flips.
        batch_size: images per forward pass, three views of each.
        max_pixels: larger images are refused.
        reporter: receives the progress.

    Returns:
        `.findings` and `.remarks` in words, `.kind` of the most severe finding, and the `.reports` of all `.layers`
        with scores and maps; `.failed`, why images could not be read: others were drawn in their place. `print` shows
        it as a table and text; `draw_diagnosis` draws it.

    Raises:
        ImageError: too few images that can be read.
        ConfigError: fewer than 16 images wanted, or layers that do not exist.
        BackboneError: `backbone` is no backbone.
        GeometryError: the backbone has fewer than 2 x 2 patches.
        EvaluationError: features that are not finite.

    Examples:
        >>> import dvt
        >>> diagnosis = dvt.diagnose(dvt.load_backbone("vit_micro"), "photos/", layers=[5])
        >>> [layer.name for layer in diagnosis.layers]
        ['block 5', 'block 5 + norm']
        >>> diagnosis.reports[-1].position_share < 1
        True
    """
    config = DoctorConfig(
        num_images=num_images, layers=None if layers is None else list(layers), batch_size=batch_size, seed=seed
    )
    model = layers_of(backbone, config.layers)
    chosen = choose_images(find_images(images), num_images, seed, max_pixels)
    return diagnose_layers(model, chosen, config, max_pixels=max_pixels, reporter=reporter)


def diagnose_layers(
    model: LayerFeatures,
    chosen: Choice,
    config: DoctorConfig,
    *,
    max_pixels: int = MAX_PIXELS,
    reporter: Reporter = SILENT,
) -> Diagnosis:
    """`diagnose` for any model that gives the features of its layers.

    Args:
        model: the model.
        chosen: the images.
        config: the seed and the batch size.
        max_pixels: larger images are refused.
        reporter: receives the progress.

    Raises:
        ImageError: an image cannot be read.
        GeometryError: the model has fewer than 2 x 2 patches.
        EvaluationError: features that are not finite.
    """
    layers, grid, images = tuple(model.layers), model.grid, chosen.images
    meters = [ArtifactMeter(f"{model.name}, {layer.name}", len(images), seed=config.seed) for layer in layers]

    def features(views: list[AnySizeImage]) -> Sequence[FeatureMaps]:
        return model(torch.stack([resize(view, grid.image_hw) for view in views]).to(model.device))

    reporter.start(len(images), "images", "features")
    fill_meters(
        meters,
        features,
        grid,
        images,
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
    return Diagnosis(
        model=model.name,
        grid=grid,
        num_images=len(images),
        layers=layers,
        reports=tuple(reports),
        findings=find_artifacts(layers, reports),
        remarks=remarks(layers, reports),
        failed=chosen.failed,
    )


def fill_meters(
    meters: Sequence[ArtifactMeter],
    features: Callable[[list[AnySizeImage]], Sequence[FeatureMaps]],
    grid: PatchGrid,
    images: Sequence[ImageFile],
    *,
    seed: int,
    batch_size: int,
    max_pixels: int = MAX_PIXELS,
    reporter: Reporter = SILENT,
) -> None:
    """Give every meter its features of three views of each image: two windows and the whole image.

    Args:
        meters: one for each kind of features.
        features: views of any size to the (B, H, W, C) maps of every meter.
        grid: the patches of the maps.
        images: the images, at least four.
        seed: seed for the windows and flips.
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
