"""Crop: the definition of a view as plain data. Pixels and coordinates of a view both derive from it."""

from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor

from dvt.grid import PatchGrid
from dvt.views.config import Layout, ViewsConfig

_ONE_SIZE = 25
"""Fewer windows of a grid have one size alone."""
_LEAST_OVERLAP = 1.2
"""Sum of the sides of the windows in a row, in sides of the image: neighbours overlap."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A box in whole pixels of the source image, and whether the view is mirrored."""

    left: int
    top: int
    width: int
    height: int
    flip: bool = False

    @classmethod
    def whole(cls, source_hw: tuple[int, int]) -> "Crop":
        """The crop of the whole image: the full view."""
        height, width = source_hw
        return cls(left=0, top=0, width=width, height=height)


def sample_crops(
    source_hw: tuple[int, int], grid: PatchGrid, num_views: int, seed: int, config: ViewsConfig
) -> list[Crop]:
    """The crops of an image in the layout of the options.

    Args:
        source_hw: height and width of the source image in pixels.
        grid: the patches of a view.
        num_views: number of crops.
        seed: the crops depend only on the seed, the sizes and the options.
        config: layout, ranges of area and aspect, probability of a flip.

    Returns:
        `num_views` crops.
    """
    match config.layout:
        case Layout.random:
            return random_crops(source_hw, grid.image_hw, num_views, seed, config)
        case Layout.sobol:
            return sobol_crops(source_hw, grid.image_hw, num_views, seed, config)
        case Layout.grid:
            return grid_crops(source_hw, grid, num_views, seed, config)


def random_crops(
    source_hw: tuple[int, int], view_hw: tuple[int, int], num_views: int, seed: int, config: ViewsConfig
) -> list[Crop]:
    """Draw random resized crops by torchvision's rule (paper, App. A.1).

    Area and aspect are drawn up to ten times until the box fits; a box that never fits is clipped to the image. Both
    are measured after squashing the image to the view, so crops and full view have the same distortion.

    Args:
        source_hw: height and width of the source image in pixels.
        view_hw: height and width of a view in pixels.
        num_views: number of crops.
        seed: the crops depend only on the seed, the sizes and the options.
        config: ranges of area and aspect, probability of a flip.

    Returns:
        `num_views` crops. A smaller number with the same seed gives a prefix of this list.
    """
    rng = torch.Generator().manual_seed(seed)
    numbers = torch.rand((num_views, 23), generator=rng, dtype=torch.float64)  # one row per view: more views add rows
    draws, places = numbers[:, :20].reshape(-1, 10, 2), numbers[:, 20:]
    width, height = _sides(draws[..., 0], draws[..., 1], view_hw, config)
    fits = ((width <= 1) & (height <= 1)).double()
    first = torch.where(fits.any(dim=1), fits.argmax(dim=1), fits.shape[1] - 1)
    rows = torch.arange(num_views)
    width, height = width[rows, first].clamp(max=1), height[rows, first].clamp(max=1)

    return _crops(width, height, places, source_hw, config)


def sobol_crops(
    source_hw: tuple[int, int], view_hw: tuple[int, int], num_views: int, seed: int, config: ViewsConfig
) -> list[Crop]:
    """Crops whose area, aspect, position and flip are the dimensions of a scrambled Sobol sequence.

    Arguments and the meaning of the options as for `random_crops`; a box that does not fit is clipped to the image. A
    smaller number with the same seed gives a prefix of this list.
    """
    if num_views == 0:
        return []
    engine = torch.quasirandom.SobolEngine(5, scramble=True, seed=seed % 2**31)  # type: ignore[no-untyped-call]
    numbers = engine.draw(num_views, dtype=torch.float64).clamp(max=1 - 1e-9)
    width, height = _sides(numbers[:, 0], numbers[:, 1], view_hw, config)
    return _crops(width.clamp(max=1), height.clamp(max=1), numbers[:, 2:], source_hw, config)


def grid_crops(
    source_hw: tuple[int, int], grid: PatchGrid, num_views: int, seed: int, config: ViewsConfig
) -> list[Crop]:
    """Windows in m x m grids from edge to edge of the image, in two sizes; the rest of `num_views` by `sobol_crops`.

    Small windows show detail, large ones context. Both have the aspect of a view, and areas at 15 % and 65 % of the
    range of the options. About three quarters of the windows are small; fewer than 25 are of the small size alone.
    Every window is moved at random by up to half a patch, so that the patches of different windows do not coincide.
    """
    small = isqrt(num_views) if num_views < _ONE_SIZE else isqrt(round(num_views * 25 / 34))
    large = 0 if num_views < _ONE_SIZE else isqrt(num_views - small**2)
    rng = torch.Generator().manual_seed(seed)
    windows: list[Tensor] = []
    for count, share in ((small, 0.15), (large, 0.65)):
        if count < 2:
            continue
        area = config.area_min + share * (config.area_max - config.area_min)
        side = max(area**0.5, _LEAST_OVERLAP / count)
        low = torch.arange(count, dtype=torch.float64) * (1 - side) / (count - 1)
        corner = torch.cartesian_prod(low, low).flip(-1)  # row by row: x changes first
        shift = torch.rand((count**2, 2), generator=rng, dtype=torch.float64) - 0.5
        corner = corner + shift * side / torch.tensor(grid.hw[::-1], dtype=torch.float64)
        windows.append(torch.cat((corner, torch.full((count**2, 1), side, dtype=torch.float64)), dim=1))
    boxes = torch.cat(windows) if windows else torch.zeros(0, 3, dtype=torch.float64)
    height, width = source_hw
    crops = []
    turn = float(torch.rand((), generator=rng))
    for x, y, side in boxes.tolist():
        w, h = max(1, round(side * width)), max(1, round(side * height))
        turn += config.flip_probability
        flip, turn = turn >= 1, turn % 1
        left, top = min(max(0, round(x * width)), width - w), min(max(0, round(y * height)), height - h)
        crops.append(Crop(left=left, top=top, width=w, height=h, flip=flip))
    return crops + sobol_crops(source_hw, grid.image_hw, num_views - len(crops), seed, config)


def _sides(area: Tensor, aspect: Tensor, view_hw: tuple[int, int], config: ViewsConfig) -> tuple[Tensor, Tensor]:
    """Width and height of boxes as shares of the image's sides, from numbers in [0, 1]; above 1 if they do not fit."""
    low, high = torch.tensor([config.aspect_min, config.aspect_max], dtype=torch.float64).log()
    areas, aspects = config.area_min + area * (config.area_max - config.area_min), (low + aspect * (high - low)).exp()
    squash = view_hw[0] / view_hw[1]
    return (areas * aspects * squash).sqrt(), (areas / aspects / squash).sqrt()


def _crops(
    width: Tensor, height: Tensor, places: Tensor, source_hw: tuple[int, int], config: ViewsConfig
) -> list[Crop]:
    """Boxes in whole pixels, from their sides and (N, 3) numbers in [0, 1]: position along x and y, and flip."""
    width_px = (width * source_hw[1]).round().clamp(min=1).long()
    height_px = (height * source_hw[0]).round().clamp(min=1).long()
    left = (places[:, 0] * (source_hw[1] - width_px + 1)).long()
    top = (places[:, 1] * (source_hw[0] - height_px + 1)).long()
    flip = places[:, 2] < config.flip_probability
    boxes = torch.stack((left, top, width_px, height_px, flip.long()), dim=1).tolist()
    return [Crop(left=x, top=y, width=w, height=h, flip=bool(f)) for x, y, w, h, f in boxes]
