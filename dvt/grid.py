"""PatchGrid: rows, columns and centres of the patches of an image, or of finer cells. All counts come from here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from dvt.errors import ConfigError, GeometryError
from dvt.numbers import takes_numbers
from dvt.shapes import ImageXY


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """The patches of an image of a given size, or the cells of a finer map: rows, columns and centres.

    Build it with `PatchGrid.of`, which checks that image, patch and stride fit together.

    Example:
        >>> grid = PatchGrid.of((224, 336), patch=14)
        >>> grid.hw, grid.num_patches
        ((16, 24), 384)
        >>> print(PatchGrid.of((224, 336), patch=14, stride=7))
        31 x 47 patches of 14 px every 7 px
        >>> grid.centres_xy.shape
        torch.Size([16, 24, 2])
        >>> print(grid.finer(4))
        64 x 96 cells of 3.5 px
    """

    image_hw: tuple[int, int]
    """Image height and width in pixels."""
    patch: int
    """Side of a patch in pixels."""
    stride: int
    """Pixels between neighbouring patches; equal to `patch` unless dense."""
    fine: int = 1
    """Cells per patch along each side, in the square of one stride around its centre; 1: the patches themselves."""

    @classmethod
    @takes_numbers
    def of(cls, image_hw: tuple[int, int], patch: int, stride: int | None = None) -> "PatchGrid":
        """The grid of an image.

        Args:
            image_hw: height and width in pixels.
            patch: side of a patch in pixels.
            stride: pixels between neighbouring patches, 1..patch; the patch size when left out.

        Raises:
            GeometryError: a patch does not fit, the stride leaves gaps, or pixels are left over at an edge.
        """
        stride = patch if stride is None else stride
        if not 1 <= stride <= patch:
            raise GeometryError(f"stride {stride} does not fit patch size {patch}: give a stride of 1 to {patch}.")
        for side, size in zip(("height", "width"), image_hw, strict=True):
            if size < patch:
                raise GeometryError(
                    f"an image of {image_hw[0]} x {image_hw[1]} px is smaller than one patch of {patch} px"
                    f" ({side} {size}). Give an image size of at least {patch}."
                )
            left_over = (size - patch) % stride
            if left_over:
                below = size - left_over
                raise GeometryError(
                    f"{side} {size} does not divide: patches of {patch} px every {stride} px leave {left_over} px over."
                    f" Give an image size of {below} or {below + stride} there, or another stride."
                )
        return cls(image_hw=image_hw, patch=patch, stride=stride)

    def finer(self, fine: int) -> "PatchGrid":
        """The grid of `fine` x `fine` cells for every feature of this one, of the same image.

        Raises:
            GeometryError: `fine` is not a whole number, or below 1.
        """
        if not isinstance(fine, int) or fine < 1:
            raise GeometryError(f"fine={fine!r}: give a whole number of cells per patch, at least 1.")
        return replace(self, fine=self.fine * fine)

    @property
    def hw(self) -> tuple[int, int]:
        """Rows and columns of patches, or of cells if `fine` is above 1."""
        height, width = self.image_hw
        rows, columns = (height - self.patch) // self.stride + 1, (width - self.patch) // self.stride + 1
        return rows * self.fine, columns * self.fine

    @property
    def step(self) -> float:
        """Pixels between the centres of neighbouring features: the stride, or the side of a cell."""
        return self.stride / self.fine

    @property
    def side(self) -> float:
        """Side in pixels of the square that a feature describes: the patch, or the cell."""
        return self.patch if self.fine == 1 else self.step

    @property
    def margin(self) -> float:
        """Pixels before the first square of one step: above 0 where patches overlap."""
        return (self.patch - self.stride) / 2

    @property
    def num_patches(self) -> int:
        """Rows times columns."""
        rows, columns = self.hw
        return rows * columns

    @property
    def centres_xy(self) -> ImageXY:
        """(rows, columns, 2) centres of the patches or cells, x then y, in [0, 1] of the image, float32."""
        y, x = (
            ((torch.arange(count, dtype=torch.float64) + 0.5) * self.step + self.margin) / size
            for count, size in zip(self.hw, self.image_hw, strict=True)
        )
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).float()

    def __str__(self) -> str:
        rows, columns = self.hw
        if self.fine > 1:
            return f"{rows} x {columns} cells of {self.step:g} px"
        return f"{rows} x {columns} patches of {self.patch} px every {self.stride} px"


@takes_numbers
def image_hw(image_size: Any) -> tuple[int, int]:
    """Height and width from an option: one number of pixels, or two.

    Raises:
        ConfigError: it is neither.
    """
    sides = [image_size, image_size] if isinstance(image_size, int) else image_size
    is_pair = isinstance(sides, Sequence) and not isinstance(sides, str) and len(sides) == 2
    if not is_pair or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in sides):
        raise ConfigError(f"image_size={image_size!r}: give one number of pixels, or two: [height,width].")
    height, width = sides
    return height, width
