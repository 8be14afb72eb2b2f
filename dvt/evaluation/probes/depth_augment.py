"""Random changes to training pictures of the paper's protocol."""

from math import cos, radians, sin

import torch
from torch import Tensor
from torch.nn import functional

from dvt.evaluation.config.depth import PaperConfig
from dvt.evaluation.datasets.samples import Sample
from dvt.shapes import ImageTensor


def augment(
    sample: Sample, crop_hw: tuple[int, int], config: PaperConfig, rng: torch.Generator
) -> tuple[ImageTensor, Tensor]:
    """Turned, mirrored, cropped, its colours changed; in this order, each by chance.

    Args:
        sample: a training picture and its depth.
        crop_hw: height and width of the crop; a side that is longer than the picture is cut to it.
        config: how often and how far.
        rng: draws all of it.

    Returns:
        The picture, (3, y, x) in [0, 1], and its depth in metres, (y, x), 0 where it is unknown.
    """
    picture, depth = sample.picture, sample.target
    turned, angle, mirrored, top, left, coloured = torch.rand(6, generator=rng).tolist()
    if turned < config.rotation_share:
        degrees = (2 * angle - 1) * config.rotation_degrees
        picture, depth = rotate(picture, degrees, "bilinear"), rotate(depth[None], degrees, "nearest")[0]
    if mirrored < config.flip_share:
        picture, depth = picture.flip(-1), depth.flip(-1)
    height, width = depth.shape
    rows, columns = min(crop_hw[0], height), min(crop_hw[1], width)
    y, x = round(top * (height - rows)), round(left * (width - columns))
    picture, depth = picture[:, y : y + rows, x : x + columns], depth[y : y + rows, x : x + columns]
    if coloured < config.colour_share:
        picture = _recoloured(picture, config, rng)
    return picture.contiguous(), depth.contiguous()


def rotate(values: Tensor, degrees: float, mode: str) -> Tensor:
    """(C, y, x) turned counterclockwise about the middle; what comes from outside is 0.

    Args:
        values: a picture or map.
        degrees: angle.
        mode: bilinear or nearest.
    """
    _, height, width = values.shape
    sine, cosine = sin(radians(degrees)), cos(radians(degrees))
    # affine_grid counts from -1 to 1 along both sides, so that a turn needs their ratio.
    matrix = torch.tensor([[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]])
    grid = functional.affine_grid(matrix[None], [1, 1, height, width], align_corners=False)
    return functional.grid_sample(values[None], grid, mode=mode, padding_mode="zeros", align_corners=False)[0]


def _recoloured(picture: ImageTensor, config: PaperConfig, rng: torch.Generator) -> ImageTensor:
    """Gamma, brightness, and each channel by itself."""
    gamma, brightness, *channels = (2 * torch.rand(5, generator=rng) - 1).tolist()
    factors = (1 + config.channel_range * torch.tensor(channels)) * (1 + config.brightness_range * brightness)
    changed: Tensor = picture.clamp(0, 1).pow(1 + config.gamma_range * gamma) * factors[:, None, None]
    return changed.clamp(0, 1)
