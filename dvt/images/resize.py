"""Antialiased resizing; bicubic except for `quality=reference`."""

from torch import Tensor
from torch.nn import functional


def resize(image: Tensor, hw: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Resize a (3, y, x) image to height and width `hw`; the identity, bit for bit, if it has that size.

    Bicubic interpolation may step a little outside [0, 1]; nothing is clipped, as in the original.
    """
    if image.shape[-2:] == hw:
        return image
    return functional.interpolate(image[None], size=hw, mode=mode, antialias=True, align_corners=False)[0]
