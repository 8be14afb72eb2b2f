"""Crop: the definition of a view as plain data. Pixels and coordinates of a view both derive from it."""

from dataclasses import dataclass

import torch

from dvt.views.config import ViewsConfig


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

    area = config.area_min + draws[..., 0] * (config.area_max - config.area_min)
    low, high = torch.tensor([config.aspect_min, config.aspect_max], dtype=torch.float64).log()
    aspect = (low + draws[..., 1] * (high - low)).exp()
    squash = view_hw[0] / view_hw[1]
    width, height = (area * aspect * squash).sqrt(), (area / aspect / squash).sqrt()  # shares of the image's sides
    fits = ((width <= 1) & (height <= 1)).double()
    first = torch.where(fits.any(dim=1), fits.argmax(dim=1), fits.shape[1] - 1)
    rows = torch.arange(num_views)
    width, height = width[rows, first].clamp(max=1), height[rows, first].clamp(max=1)

    width_px = (width * source_hw[1]).round().clamp(min=1).long()
    height_px = (height * source_hw[0]).round().clamp(min=1).long()
    left = (places[:, 0] * (source_hw[1] - width_px + 1)).long()
    top = (places[:, 1] * (source_hw[0] - height_px + 1)).long()
    flip = places[:, 2] < config.flip_probability
    boxes = torch.stack((left, top, width_px, height_px, flip.long()), dim=1).tolist()
    return [Crop(left=x, top=y, width=w, height=h, flip=bool(f)) for x, y, w, h, f in boxes]
