"""One vector per picture, from its patches or its class token."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.evaluation.patches import features_of
from dvt.evaluation.retrieval.class_folders import ClassPicture
from dvt.evaluation.retrieval.config import Pooling, RetrievalConfig
from dvt.images.read import read_image
from dvt.methods.method import Method
from dvt.progress import Reporter
from dvt.shapes import ImageTensor, ResizedImage, Tokens

_SMALLEST = 1e-6
"""What gem takes values for that are smaller, negative ones as well."""


def describe(
    method: Method,
    pictures: Sequence[ClassPicture],
    config: RetrievalConfig,
    image_hw: tuple[int, int],
    reporter: Reporter,
) -> dict[Pooling, Tokens]:
    """The descriptors of all pictures, (N, C) float64 of length 1 on the CPU, for every pooling that is possible.

    Args:
        method: makes the features.
        pictures: read one by one, not kept.
        config: the poolings, and whether pictures are cropped.
        image_hw: size that pictures are looked at in.
        reporter: shows the progress.

    Raises:
        ImageError: a picture cannot be read.
        EvaluationError: features that are not finite.
    """
    parts: dict[Pooling, list[Tensor]] = {}
    reporter.start(len(pictures), "images", f"{method.name} features")
    for features in features_of(method, _read(pictures, config, image_hw), len(pictures), image_hw, reporter):
        for pooling in config.pooling:
            pooled = pool(features, pooling, config.gem_power)
            if pooled is not None:
                parts.setdefault(pooling, []).append(pooled.double().cpu())
    return {pooling: functional.normalize(torch.cat(each), dim=1) for pooling, each in parts.items()}


def pool(features: Features, pooling: Pooling, gem_power: float = 3.0) -> Tensor | None:
    """(B, C) one vector per picture; None for the class token of features that have none.

    Args:
        features: of a batch of pictures.
        pooling: `mean`: of the patches. `gem`: (mean x^p)^(1/p) of the patches in every channel, with x at least 1e-6:
            negative values count as nothing. `class_token`: the first prefix token.
        gem_power: p.
    """
    patches = features.patches.flatten(1, 2)
    match pooling:
        case Pooling.mean:
            return patches.mean(dim=1)
        case Pooling.gem:
            return patches.clamp(min=_SMALLEST).pow(gem_power).mean(dim=1).pow(1 / gem_power)
        case Pooling.class_token:
            return features.prefix[:, 0] if features.prefix.shape[1] else None


def central_part(picture: ImageTensor, image_hw: tuple[int, int]) -> ResizedImage:
    """The largest central part of a picture with the aspect of `image_hw`, to the nearest pixel."""
    height, width = picture.shape[1:]
    scale = min(height / image_hw[0], width / image_hw[1])
    rows, columns = (max(1, round(side * scale)) for side in image_hw)
    top, left = (height - rows) // 2, (width - columns) // 2
    return picture[:, top : top + rows, left : left + columns]


def _read(
    pictures: Sequence[ClassPicture], config: RetrievalConfig, image_hw: tuple[int, int]
) -> Iterator[ImageTensor]:
    for each in pictures:
        picture = read_image(each.path)
        yield central_part(picture, image_hw) if config.crop else picture
