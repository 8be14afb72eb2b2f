"""Windows: pairs of crops of a picture, some patches apart, that no photographer's layout survives."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import ceil, gcd
from pathlib import Path

import torch

from dvt.diagnosis.sampling import MIN_IMAGES
from dvt.errors import GeometryError, ImageError
from dvt.grid import PatchGrid
from dvt.images.resize import resize
from dvt.images.sources import ImageFile
from dvt.runtime import seed_for
from dvt.shapes import ImageTensor, ResizedImage

_SHIFT_SHARE = 1 / 3
"""Of rows and columns: far enough for a ramp to show, near enough for the windows to share much of what they see."""
_LARGEST_ZOOM = 4
"""A window is cut from at most so many pixels of the picture per pixel that is looked at: methods may look closer."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowPair:
    """Two windows of a picture, in its own pixels."""

    first: ImageTensor
    """(3, y, x) RGB in [0, 1]."""
    second: ImageTensor
    """(3, y, x), of the same size."""
    shift: tuple[int, int]
    """By how many patches the second lies further down and to the right of the first; negative to the left."""


def cut_windows(picture: ImageTensor, grid: PatchGrid, number: int, seed: int) -> WindowPair:
    """Cut two windows from a random crop of a picture that is mirrored and turned upside down half of the time.

    The crop is half to all as long as the largest that fits. Both windows, once they are squashed to the size of the
    grid, show the same content in the same pixels of a patch, a third of the grid apart; towards the lower right for
    half of the pictures, towards the lower left for the others.

    Args:
        picture: of any size.
        grid: the patches that a window will have; at least 2 x 2.
        number: of the picture in its list; says the direction: numbers 0, 1 and 4, 5 one way, 2, 3 and 6, 7 the other.
        seed: of the crop and the flips.

    Raises:
        GeometryError: the grid has fewer patches.
    """
    rows, columns = grid.hw
    if rows < 2 or columns < 2:
        raise GeometryError(f"artifact scores need 2 x 2 patches or more; there are {grid}. Give a larger image_size.")
    down, right = (max(1, round(size * _SHIFT_SHARE)) for size in grid.hw)
    # The picture is cut in whole cells, each as long as `unit` pixels of the window: patches fall on each other.
    unit = gcd(grid.stride, *grid.image_hw)
    window = grid.image_hw[0] // unit, grid.image_hw[1] // unit
    step = down * grid.stride // unit, right * grid.stride // unit
    crop = window[0] + step[0], window[1] + step[1]
    picture, largest = _fitting(picture, crop, unit)
    draws = torch.rand(5, generator=torch.Generator().manual_seed(seed)).tolist()
    smallest = ceil(largest / 2)
    cell = smallest + min(int(draws[0] * (largest - smallest + 1)), largest - smallest)
    top, left = (
        int(draw * (size - side * cell + 1))
        for draw, size, side in zip(draws[1:3], picture.shape[1:], crop, strict=True)
    )
    canvas = picture[:, top : top + crop[0] * cell, left : left + crop[1] * cell]
    canvas = canvas.flip(2) if draws[3] < 0.5 else canvas
    canvas = canvas.flip(1) if draws[4] < 0.5 else canvas
    height, width, below, beside = (length * cell for length in (*window, *step))
    upper, lower = canvas[:, :height], canvas[:, below : below + height]
    if number // 2 % 2 == 0:
        return WindowPair(upper[..., :width].contiguous(), lower[..., beside:].contiguous(), (down, right))
    return WindowPair(upper[..., beside:].contiguous(), lower[..., :width].contiguous(), (down, -right))


def choose_images(images: Sequence[ImageFile], count: int, seed: int) -> list[ImageFile]:
    """A random choice of pictures, in random order; all of them where there are not more than `count`.

    Of files with the same bytes one is taken: what all pictures share would look like a pattern.

    Raises:
        ImageError: there are too few, or one cannot be read.
    """
    rng = torch.Generator().manual_seed(seed_for(seed, "choice of images"))
    chosen: dict[bytes, ImageFile] = {}
    for place in torch.randperm(len(images), generator=rng).tolist():
        if len(chosen) == count:
            break
        chosen.setdefault(_content(images[place].path), images[place])
    if len(chosen) < MIN_IMAGES:
        copies = f" ({len(images)} files, the others are copies)" if len(images) > len(chosen) else ""
        raise ImageError(
            f"artifact scores need at least {MIN_IMAGES} images, better 100 (with fewer, chance looks like a pattern);"
            f" found {len(chosen)}{copies}. Give a folder with more; any photographs will do, labels are not needed."
        )
    return list(chosen.values())


def _content(path: Path) -> bytes:
    try:
        return sha256(path.read_bytes()).digest()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}.") from error


def _fitting(picture: ImageTensor, crop: tuple[int, int], unit: int) -> tuple[ResizedImage, int]:
    """The picture, made larger where a window would always be, and smaller where it has more pixels than are of use.

    Returns:
        The picture, and the pixels of a cell in the largest crop.
    """
    height, width = picture.shape[1:]
    largest = min(height // crop[0], width // crop[1])
    wanted = min(max(largest, unit), _LARGEST_ZOOM * unit)
    if wanted != largest:
        factor = wanted / min(height / crop[0], width / crop[1])
        size = max(crop[0] * wanted, round(height * factor)), max(crop[1] * wanted, round(width * factor))
        picture = resize(picture, size).clamp(0, 1)
    return picture, wanted
