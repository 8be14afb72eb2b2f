"""Sizes that fit the patches of a method."""

from dvt.errors import GeometryError
from dvt.methods.method import Method

_LARGEST_STEP = 64
"""No ViT has larger patches."""


def fitting_hw(method: Method, image_hw: tuple[int, int], *, larger: bool) -> tuple[int, int]:
    """The nearest size that fits the patches of a method, side by side.

    Args:
        method: which method.
        image_hw: height and width in pixels that one would like to have.
        larger: round up, else down; a size below one patch is always rounded up.

    Raises:
        GeometryError: there is none nearby.
    """
    height, width = (_fitting_side(method, side, larger) for side in image_hw)
    return height, width


def _fitting_side(method: Method, side: int, larger: bool) -> int:
    up = range(side, side + _LARGEST_STEP + 1)
    down = range(side, max(0, side - _LARGEST_STEP - 1), -1)
    for candidate in (*up,) if larger else (*down, *up):
        try:
            return method.grid_for((candidate, candidate)).image_hw[0]
        except GeometryError:
            continue
    raise GeometryError(f"no size near {side} px fits the patches of {method.name}: give another image size.")
