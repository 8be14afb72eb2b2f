"""BilinearField: reading F over patches, as matrix products."""

import pytest
import torch

from dvt.field import BilinearField, Field, NodeGrid
from dvt.grid import PatchGrid


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize(
    ("nodes", "grid"), [((5, 9), PatchGrid.of((48, 64), 16)), ((12, 16), PatchGrid.of((48, 64), 16).finer(4))]
)
def test_patches_are_means_over_positions_in_them(samples, nodes, grid):
    values = torch.randn(nodes[0] * nodes[1], 3, generator=torch.Generator().manual_seed(0))
    field = BilinearField(nodes=NodeGrid(nodes), values=values, samples_per_patch=samples)
    one_by_one = Field.over_patches(field, grid.centres_xy, grid)
    torch.testing.assert_close(field.over_patches(grid.centres_xy, grid), one_by_one, atol=1e-5, rtol=0)


def test_corner_aligned_centres_are_clamped_to_the_image():
    grid = PatchGrid.of((32, 48), 16)
    x, y = torch.linspace(0, 1, 3), torch.linspace(0, 1, 2)
    corners = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    field = BilinearField(nodes=NodeGrid((4, 4)), values=torch.randn(16, 2), samples_per_patch=4)
    torch.testing.assert_close(
        field.over_patches(corners, grid), Field.over_patches(field, corners, grid), atol=1e-5, rtol=0
    )
