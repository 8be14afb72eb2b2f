"""Numbers and places in words."""

from collections.abc import Sequence

from jaxtyping import Bool
from torch import Tensor

from dvt.diagnosis.layers import Layer

_NAMED = 4
"""So many patches are named one by one."""


def percent(share: float) -> str:
    """A share in percent: 0.0193 is 1.9 %, 0.97 is 97 %."""
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.2g} %"


def span(layers: Sequence[Layer]) -> str:
    """Layers by name, neighbours together: blocks 8 to 11 and block 11 + norm."""
    blocks = [layer.block for layer in layers if not layer.normed]
    names = [layer.name for layer in layers if layer.normed]
    if len(blocks) > 2:
        names.insert(0, f"blocks {blocks[0]} to {blocks[-1]}")
    elif len(blocks) == 2:
        names.insert(0, f"blocks {blocks[0]} and {blocks[1]}")
    elif blocks:
        names.insert(0, f"block {blocks[0]}")
    return " and ".join(names)


def where(patches: Bool[Tensor, "H W"]) -> str:
    """Where some patches lie on the grid: 4 of 196 patches, the corners."""
    rows, columns = patches.shape
    places = [(row, column) for row, column in patches.nonzero().tolist()]
    count = f"{len(places)} of {rows * columns} patches"
    corners = {(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)}
    if places and set(places) <= corners:
        return f"{count}, {'the four corners' if len(places) == 4 else 'corners'}"
    if len(places) <= _NAMED:
        named = ", ".join(f"({row}, {column})" for row, column in places)
        return f"{count}, at row and column {named}"
    border = [place for place in places if place[0] in (0, rows - 1) or place[1] in (0, columns - 1)]
    inside = len(places) - len(border)
    if len(border) >= 0.8 * len(places):
        return f"{count}, nearly all at the border" if inside else f"{count}, at the border"
    return f"{count}, {len(border)} at the border and {inside} inside"
