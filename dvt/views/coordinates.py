"""Image positions of the patches of a view."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dvt.grid import PatchGrid
from dvt.shapes import Float32, ImageXY
from dvt.views.config import Coordinates
from dvt.views.crop import Crop


def view_xy(grid: PatchGrid, coordinates: Coordinates) -> ImageXY:
    """(H, W, 2) positions of the patches in their own view, x then y, [0, 1], float32."""
    match coordinates:
        case Coordinates.centre:
            return grid.centres_xy
        case Coordinates.corner:
            y, x = (torch.linspace(0, 1, count) for count in grid.hw)
            return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def crop_xy(
    crops: Sequence[Crop], grid: PatchGrid, source_hw: tuple[int, int], coordinates: Coordinates
) -> Float32[Tensor, "V H W 2"]:
    """Image positions of the patches of each view.

    Args:
        crops: one per view, in source pixels.
        grid: the patches of a view.
        source_hw: height and width of the source in pixels.
        coordinates: position assigned to a patch in its view.

    Returns:
        (V, H, W, 2) x then y in [0, 1] of the image. A flip mirrors the positions inside the crop. The patch index
        of a token, which determines its artifact, stays that of the view.
    """
    boxes = torch.tensor([(c.left, c.top, c.width, c.height) for c in crops], dtype=torch.float64)
    flip = torch.tensor([c.flip for c in crops])[:, None, None]
    inside = view_xy(grid, coordinates).double().expand(len(crops), *grid.hw, 2)
    x = torch.where(flip, 1 - inside[..., 0], inside[..., 0])
    inside = torch.stack((x, inside[..., 1]), dim=-1)
    size = torch.tensor(source_hw[::-1], dtype=torch.float64)
    return ((boxes[:, None, None, :2] + inside * boxes[:, None, None, 2:]) / size).float()
