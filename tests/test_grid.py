"""PatchGrid against enumeration, and the errors for sizes that do not go together."""

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvt.errors import GeometryError
from dvt.grid import PatchGrid


@st.composite
def grids(draw):
    patch = draw(st.integers(1, 20))
    stride = draw(st.integers(1, patch))
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    hw = ((rows - 1) * stride + patch, (columns - 1) * stride + patch)
    return hw, patch, stride


@settings(max_examples=60, deadline=None)
@given(grids())
def test_counts_and_centres_agree_with_enumeration(case):
    (height, width), patch, stride = case
    grid = PatchGrid.of((height, width), patch, stride)
    tops = [top for top in range(0, height, stride) if top + patch <= height]
    lefts = [left for left in range(0, width, stride) if left + patch <= width]
    assert grid.hw == (len(tops), len(lefts))
    assert grid.num_patches == len(tops) * len(lefts)
    expected = [[[(left + patch / 2) / width, (top + patch / 2) / height] for left in lefts] for top in tops]
    torch.testing.assert_close(grid.centres_xy, torch.tensor(expected))
    assert grid.centres_xy.dtype == torch.float32
    assert 0 < grid.centres_xy.min() and grid.centres_xy.max() < 1


def test_stride_equal_to_patch_gives_timms_grid():
    model = timm.create_model("vit_tiny_patch16_224", img_size=(96, 160), depth=1)
    assert PatchGrid.of((96, 160), 16).hw == model.patch_embed.grid_size


@pytest.mark.parametrize(
    ("hw", "patch", "stride", "text"),
    [
        ((8, 64), 16, None, "smaller than one patch of 16 px (height 8)"),
        ((64, 70), 16, None, "Give an image size of 64 or 80"),
        ((518, 518), 14, 5, "leave 4 px over"),
        ((64, 64), 16, 0, "stride of 1 to 16"),
        ((64, 64), 16, 17, "stride of 1 to 16"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(hw, patch, stride, text):
    with pytest.raises(GeometryError) as error:
        PatchGrid.of(hw, patch, stride)
    assert text in str(error.value)


@settings(max_examples=60, deadline=None)
@given(grids(), st.integers(1, 5), st.integers(1, 3))
def test_cells_divide_the_square_of_one_stride_around_each_centre(case, fine, again):
    grid = PatchGrid.of(*case)
    cells, (rows, columns) = grid.finer(fine), grid.hw
    assert cells.hw == (rows * fine, columns * fine) and cells.finer(again) == grid.finer(fine * again)
    means = cells.centres_xy.reshape(rows, fine, columns, fine, 2).mean(dim=(1, 3))
    torch.testing.assert_close(means, grid.centres_xy)
    if fine > 1:
        assert cells.side == cells.step == grid.stride / fine
        first = cells.centres_xy[0, 0] * torch.tensor(grid.image_hw[::-1])
        torch.testing.assert_close(first, torch.full((2,), (grid.patch - grid.stride + grid.stride / fine) / 2))


@pytest.mark.other_types
@pytest.mark.parametrize("fine", [0, -1, 1.5])
def test_what_is_no_number_of_cells_is_refused(fine):
    with pytest.raises(GeometryError, match=f"fine={fine}: give a whole number"):
        PatchGrid.of((64, 64), 16).finer(fine)
