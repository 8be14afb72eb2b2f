"""The choice of images, and windows: pairs of random crops that remove the layout of photographs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import ceil, gcd

import torch

from dvt.diagnosis.config import MIN_IMAGES
from dvt.errors import GeometryError, ImageError
from dvt.grid import PatchGrid
from dvt.images.formats import MAX_PIXELS
from dvt.images.read import read_image
from dvt.images.resize import resize
from dvt.images.sources import ImageFile
from dvt.runtime import seed_for
from dvt.shapes import ImageTensor, ResizedImage

_SHIFT_SHARE = 1 / 3
"""Shift as a share of rows and columns: a ramp is visible, and the windows still share most of their content."""
_LARGEST_ZOOM = 4
"""Largest number of image pixels per window pixel, per side: methods may see a window at a larger size."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowPair:
    """Two windows of an image, in its own pixels."""

    first: ImageTensor
    """(3, y, x) RGB in [0, 1]."""
    second: ImageTensor
    """(3, y, x), of the same size."""
    shift: tuple[int, int]
    """Patches (or cells of a finer grid) from the first window down and right to the second; negative to the left."""


def cut_windows(image: ImageTensor, grid: PatchGrid, number: int, seed: int) -> WindowPair:
    """Cut two windows from a random crop of an image, mirrored and upside down by chance.

    The crop is half to all as long as the largest that fits. Resized to the size of the grid, both windows show the
    same content in the same pixels of a patch, a third of the grid apart: towards the lower right for half of the
    images, towards the lower left for the others.

    Args:
        image: (3, y, x) in [0, 1], of any size.
        grid: the patches that a window will have, at least 2 x 2.
        number: number of the image in its list; it sets the direction: 0, 1 and 4, 5 one way, 2, 3 and 6, 7 the other.
        seed: seed for the crop and the flips.

    Raises:
        GeometryError: the grid has fewer than 2 x 2 patches.
    """
    rows, columns = grid.hw
    if rows < 2 or columns < 2:
        raise GeometryError(f"artifact scores need 2 x 2 patches or more; there are {grid}. Give a larger image_size.")
    fine = grid.fine
    down, right = (max(1, round(size // fine * _SHIFT_SHARE)) for size in grid.hw)  # in patches
    # The crop consists of whole cells, each as long as `unit` pixels of the window, so patches coincide.
    unit = gcd(grid.stride, *grid.image_hw)
    window = grid.image_hw[0] // unit, grid.image_hw[1] // unit
    step = down * grid.stride // unit, right * grid.stride // unit
    crop = window[0] + step[0], window[1] + step[1]
    image, largest = _fitting(image, crop, unit)
    draws = torch.rand(5, generator=torch.Generator().manual_seed(seed)).tolist()
    smallest = ceil(largest / 2)
    cell = smallest + min(int(draws[0] * (largest - smallest + 1)), largest - smallest)
    top, left = (
        int(draw * (size - side * cell + 1)) for draw, size, side in zip(draws[1:3], image.shape[1:], crop, strict=True)
    )
    canvas = image[:, top : top + crop[0] * cell, left : left + crop[1] * cell]
    canvas = canvas.flip(2) if draws[3] < 0.5 else canvas
    canvas = canvas.flip(1) if draws[4] < 0.5 else canvas
    height, width, below, beside = (length * cell for length in (*window, *step))
    upper, lower = canvas[:, :height], canvas[:, below : below + height]
    if number // 2 % 2 == 0:
        return WindowPair(
            upper[..., :width].contiguous(), lower[..., beside:].contiguous(), (down * fine, right * fine)
        )
    return WindowPair(upper[..., beside:].contiguous(), lower[..., :width].contiguous(), (down * fine, -right * fine))


@dataclass(frozen=True, slots=True)
class Choice:
    """Images drawn from a list."""

    images: tuple[ImageFile, ...]
    """At least `MIN_IMAGES`, all different and readable."""
    failed: Mapping[str, str]
    """Key and reason of those that were drawn and cannot be read; others were drawn in their place."""


def choose_images(images: Sequence[ImageFile], count: int, seed: int, max_pixels: int = MAX_PIXELS) -> Choice:
    """Draw `count` different images, or all if there are fewer, in random order.

    Files with the same bytes count once: what all images share would look like a pattern.

    Raises:
        ImageError: fewer than `MIN_IMAGES` different images that can be read.
    """
    rng = torch.Generator().manual_seed(seed_for(seed, "choice of images"))
    chosen: dict[bytes, ImageFile] = {}
    failed: dict[str, str] = {}
    for place in torch.randperm(len(images), generator=rng).tolist():
        if len(chosen) == count:
            break
        file = images[place]
        try:
            content = sha256(file.path.read_bytes()).digest()
            if content not in chosen:
                read_image(file.path, max_pixels=max_pixels)
                chosen[content] = file
        except ImageError as error:
            failed[file.key] = str(error)
        except OSError as error:
            failed[file.key] = f"{file.path} cannot be read: {error.strerror or error}."
    if len(chosen) < MIN_IMAGES:
        copies = len(images) - len(chosen) - len(failed)
        others = f" ({len(images)} files, {copies} are copies)" if copies else ""
        if failed:
            others += f"; {len(failed)} cannot be read: {next(iter(failed.values()))}"
        raise ImageError(
            f"artifact scores and calibrations need at least {MIN_IMAGES} images, better 100 (with fewer, chance looks"
            f" like a pattern); found {len(chosen)}{others.removesuffix('.')}. Give a folder with more;"
            " any photographs will do, labels are not needed."
        )
    return Choice(tuple(chosen.values()), failed)


def _fitting(image: ImageTensor, crop: tuple[int, int], unit: int) -> tuple[ResizedImage, int]:
    """The image, enlarged if a window would be, and reduced if it has more pixels than a window needs.

    Returns:
        The image, and the side in pixels of a cell in the largest crop.
    """
    height, width = image.shape[1:]
    largest = min(height // crop[0], width // crop[1])
    wanted = min(max(largest, unit), _LARGEST_ZOOM * unit)
    if wanted != largest:
        factor = wanted / min(height / crop[0], width / crop[1])
        size = max(crop[0] * wanted, round(height * factor)), max(crop[1] * wanted, round(width * factor))
        image = resize(image, size).clamp(0, 1)
    return image, wanted
