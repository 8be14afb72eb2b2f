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
