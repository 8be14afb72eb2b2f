"""What a feature map must be before it is painted."""

from collections.abc import Sequence
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from dvt.errors import DvtError

MapOfAnySize: TypeAlias = Float[Tensor, "_ _ _"]
"""A feature map (H, W, C) among others that need not have the same rows and columns."""


def require_map(feature_map: Tensor, name: str) -> None:
    """Refuse what is not a finite (rows, columns, channels) map of floats.

    Raises:
        DvtError: wrong shape or type, empty, or values that are NaN or infinite; says which `name` and where.
    """
    shape = tuple(feature_map.shape)
    if feature_map.ndim != 3 or feature_map.numel() == 0 or not feature_map.is_floating_point():
        raise DvtError(
            f"{name} has shape {shape} and type {feature_map.dtype}."
            " Expected a feature map of floats, (rows, columns, channels), without a batch dimension."
        )
    broken = (~feature_map.isfinite()).any(dim=-1).nonzero()
    if len(broken):
        row, column = broken[0].tolist()
        raise DvtError(
            f"{name} has values that are NaN or infinite in {len(broken)} of {shape[0] * shape[1]} patches"
            f" (the first at row {row}, column {column}). Look for them where it is made."
        )


def require_maps(feature_maps: Sequence[Tensor], names: Sequence[str] | None = None) -> None:
    """Refuse maps that cannot be looked at together: none, a broken one, or different numbers of channels.

    Raises:
        DvtError: says which; without `names` they are counted from 1.
    """
    if not feature_maps:
        raise DvtError("no feature maps were given. Give at least one.")
    if names is None:
        names = [f"map {number} of {len(feature_maps)}" for number in range(1, len(feature_maps) + 1)]
    for feature_map, name in zip(feature_maps, names, strict=True):
        require_map(feature_map, name)
        if feature_map.shape[-1] != feature_maps[0].shape[-1]:
            raise DvtError(
                f"{names[0]} has {feature_maps[0].shape[-1]} channels and {name} has {feature_map.shape[-1]}."
                " Maps that share colours must come from the same features."
            )


def require_patch(feature_map: Tensor, row: int, column: int) -> None:
    """Refuse a place that is not on the map.

    Raises:
        DvtError: says how many rows and columns there are.
    """
    rows, columns = feature_map.shape[:2]
    if not (0 <= row < rows and 0 <= column < columns):
        raise DvtError(
            f"there is no patch at row {row}, column {column}: the map has {rows} rows and {columns} columns."
            " Count from 0."
        )
