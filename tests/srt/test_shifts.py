"""Shifts, the views they make, and the weights of the closed form."""

import itertools

import pytest
import torch
from planted_vit import moved

from dvt.grid import PatchGrid
from dvt.srt.config import Fill
from dvt.srt.shifts import Shift, axis_weights, pad, sub_token_shifts, view


@pytest.mark.parametrize(
    ("max_shift", "step", "moves"),
    [(1, 1, [-1, 0, 1]), (3, 1, range(-3, 4)), (6, 2, range(-6, 7, 2)), (3, 2, [-2, 0, 2]), (5, 4, [-4, 0, 4])],
)
def test_all_pairs_once_and_no_shift_first(max_shift, step, moves):
    shifts = sub_token_shifts(max_shift, step)
    assert shifts[0] == Shift(0, 0)
    assert sorted((shift.dy, shift.dx) for shift in shifts) == sorted(itertools.product(moves, moves))


@pytest.mark.parametrize("shift", [Shift(0, 0), Shift(3, -2), Shift(-3, 3), Shift(0, 1)])
def test_a_view_moves_the_content(shift, make_images):
    images, mean = make_images(2, 9, 14), torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    for fill in Fill:
        shown = view(pad(images, 3, fill, mean), 3, shift)
        torch.testing.assert_close(shown, moved(images, shift.dy, shift.dx, fill.value, mean))


@pytest.mark.parametrize("shift", range(-6, 7))
def test_two_weights_along_an_axis_four_in_the_plane(shift):
    patch, count = 7, 5
    weights = axis_weights(count, patch, 1, shift)
    expected = torch.eye(count) * (patch - abs(shift)) / patch
    neighbours = torch.diag(torch.ones(count - 1), 1 if shift > 0 else -1) * abs(shift) / patch
    torch.testing.assert_close(weights, expected + neighbours)


@pytest.mark.parametrize(("stride", "fine"), [(4, 1), (4, 2), (4, 4), (14, 7), (6, 3)])
def test_weights_are_shares_of_pixels(stride, fine):
    count, cell = 3, stride // fine
    for shift in range(-stride - 2, stride + 3):
        token = torch.arange(count).repeat_interleave(stride)  # of every pixel of the view
        expected = torch.zeros(count * fine, count)
        for pixel in range(count * stride):
            if 0 <= pixel + shift < count * stride:
                expected[pixel // cell, token[pixel + shift]] += 1 / cell
        torch.testing.assert_close(axis_weights(count, stride, fine, shift), expected)


@pytest.mark.parametrize(("patch", "stride", "fine"), [(16, 16, 1), (16, 16, 4), (14, 7, 7), (16, 4, 2), (4, 4, 4)])
def test_cells_have_their_centres_in_the_middle_of_what_they_cover(patch, stride, fine):
    grid = PatchGrid.of((patch + 2 * stride, patch + 4 * stride), patch, stride)
    cells = grid.finer(fine)
    assert cells.hw == (3 * fine, 5 * fine) and cells.step == stride // fine and cells.image_hw == grid.image_hw
    means = cells.centres_xy.reshape(3, fine, 5, fine, 2).mean(dim=(1, 3))
    torch.testing.assert_close(means, grid.centres_xy)
    if fine == 1:
        assert cells == grid
