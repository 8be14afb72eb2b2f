"""`patch=[row,column]` of `dvt show`, checked against the grid."""

from typing import TYPE_CHECKING

from dvt.errors import ConfigError

if TYPE_CHECKING:
    from dvt.grid import PatchGrid


def patch_of(patch: list[int] | None, grid: "PatchGrid") -> tuple[int, int] | None:
    """Row and column of the patch, checked against the grid.

    Raises:
        ConfigError: not two numbers, or outside the grid.
    """
    if patch is None:
        return None
    rows, columns = grid.hw
    if len(patch) != 2 or not (0 <= patch[0] < rows and 0 <= patch[1] < columns):
        raise ConfigError(
            f"patch=[{','.join(map(str, patch))}]: give a row and a column of {grid},"
            f" patch=[0,0] to patch=[{rows - 1},{columns - 1}]."
        )
    return patch[0], patch[1]
