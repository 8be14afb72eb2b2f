"""Views: pixels and places come from the same crop, and the plan depends on its seed alone."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from dvt.errors import ConfigError
from dvt.grid import PatchGrid
from dvt.views.config import Coordinates, Layout, Source, ViewsConfig
from dvt.views.coordinates import crop_xy, view_xy
from dvt.views.crop import Crop, grid_crops, random_crops, sample_crops, sobol_crops
from dvt.views.render import make_source, render_views


def coordinate_image(height, width):
    """An image whose red is x and whose green is y."""
    y = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    x = ((torch.arange(width) + 0.5) / width)[None, :].expand(height, width)
    return torch.stack((x, y, torch.zeros(height, width)))


def patch_means(views, grid):
    """A backbone without a ViT: the mean colour of every patch, (V, H, W, 2)."""
    means = functional.avg_pool2d(views[:, :2], grid.patch, grid.stride)
    return means.permute(0, 2, 3, 1)


@settings(max_examples=40, deadline=None)
@given(
    source_hw=st.tuples(st.integers(150, 260), st.integers(150, 260)),
    patch_stride=st.sampled_from([(16, 16), (16, 8), (14, 7), (12, 4), (10, 7)]),
    counts=st.tuples(st.integers(3, 8), st.integers(3, 8)),
    source=st.sampled_from(Source),
    seed=st.integers(0, 2**40),
)
def test_coordinate_image(source_hw, patch_stride, counts, source, seed):
    """Features of the coordinate image are the places of the patches: any crop, flip, size, aspect, stride."""
    patch, stride = patch_stride
    hw = tuple((count - 1) * stride + patch for count in counts)
    grid = PatchGrid.of(hw, patch, stride)
    config = ViewsConfig(source=source)
    image = make_source(coordinate_image(*source_hw), hw, config)
    used_hw = tuple(image.shape[-2:])
    crops = [*random_crops(used_hw, hw, 6, seed, config), Crop.whole(used_hw)]
    seen = patch_means(render_views(image, crops, hw), grid)
    expected = crop_xy(crops, grid, used_hw, Coordinates.centre)
    # The interpolation bends the ramp within two pixels of a crop's edge, by a third of a pixel at most.
    tolerance = 0.34 / min(used_hw)
    torch.testing.assert_close(seen, expected, atol=tolerance, rtol=0)


def test_corner_coordinates_of_the_original_are_half_a_patch_off_at_the_borders():
    grid = PatchGrid.of((64, 64), 16)
    crop = Crop(left=10, top=20, width=40, height=60)
    corner = crop_xy([crop], grid, (100, 100), Coordinates.corner)[0]
    centre = crop_xy([crop], grid, (100, 100), Coordinates.centre)[0]
    torch.testing.assert_close(corner[0, :, 0], torch.tensor([0.1, 0.1 + 0.4 / 3, 0.1 + 0.8 / 3, 0.5]))
    torch.testing.assert_close(centre[0, :, 0], torch.tensor([0.15, 0.25, 0.35, 0.45]))
    torch.testing.assert_close(corner[:, 0, 1], torch.tensor([0.2, 0.4, 0.6, 0.8]))


def test_a_flip_mirrors_places_inside_the_crop():
    grid = PatchGrid.of((64, 64), 16)
    crop = Crop(left=10, top=20, width=40, height=60)
    for coordinates in Coordinates:
        plain, flipped = crop_xy(
            [crop, Crop(left=10, top=20, width=40, height=60, flip=True)], grid, (100, 100), coordinates
        )
        torch.testing.assert_close(flipped, plain.flip(1))
    view, mirrored = render_views(torch.rand(3, 100, 100), [crop, Crop(10, 20, 40, 60, True)], (64, 64))
    assert not torch.equal(view, mirrored)
    view, mirrored = render_views(coordinate_image(100, 100), [crop, Crop(10, 20, 40, 60, True)], (64, 64))
    torch.testing.assert_close(mirrored, view.flip(-1))


def test_the_full_view_is_the_image_bit_for_bit():
    image = torch.rand(3, 64, 48)
    assert torch.equal(render_views(image, [Crop.whole((64, 48))], (64, 48))[0], image)
    torch.testing.assert_close(
        crop_xy([Crop.whole((64, 48))], PatchGrid.of((64, 48), 16), (64, 48), Coordinates.centre)[0],
        view_xy(PatchGrid.of((64, 48), 16), Coordinates.centre),
    )


def test_the_plan_depends_on_the_seed_alone_and_grows_at_its_end():
    config = ViewsConfig()
    many = random_crops((300, 400), (224, 224), 50, 7, config)
    torch.manual_seed(123)
    assert random_crops((300, 400), (224, 224), 20, 7, config) == many[:20]
    assert random_crops((300, 400), (224, 224), 20, 8, config) != many[:20]


def test_areas_aspects_and_flips_are_drawn_from_their_ranges():
    """The rule of torchvision's RandomResizedCrop: uniform in area, uniform in log aspect."""
    config = ViewsConfig()
    crops = random_crops((1000, 2000), (224, 224), 4000, 0, config)
    area = torch.tensor([c.width * c.height / 2e6 for c in crops])
    aspect = torch.tensor([(c.width / 2000) / (c.height / 1000) for c in crops])  # in the frame of the view
    assert 0.099 < area.min() and area.max() < 0.501
    assert 0.745 < aspect.min() and aspect.max() < 1.342
    assert abs(area.mean() - 0.3) < 0.01
    assert abs(aspect.log().mean()) < 0.02
    assert abs(sum(c.flip for c in crops) / 4000 - 0.5) < 0.03
    assert all(0 <= c.left <= 2000 - c.width and 0 <= c.top <= 1000 - c.height for c in crops)
    left = torch.tensor([c.left / (2000 - c.width) for c in crops])
    assert abs(left.mean() - 0.5) < 0.02 and left.min() < 0.01 and left.max() > 0.99


def test_a_crop_larger_than_the_image_is_cut_to_it():
    config = ViewsConfig(area_min=1.0, area_max=1.0, aspect_min=1.3, aspect_max=1.3)
    for crop in random_crops((50, 50), (64, 64), 20, 0, config):
        assert (crop.width, crop.left) == (50, 0) and crop.top + crop.height <= 50


def test_tiny_images_have_crops_of_at_least_a_pixel():
    crops = random_crops((1, 3), (64, 64), 20, 0, ViewsConfig())
    assert all(c.width >= 1 and c.height == 1 and c.left + c.width <= 3 for c in crops)


def test_the_source_never_holds_more_than_the_smallest_crop_can_show():
    huge = torch.zeros(3, 3000, 500)
    source = make_source(huge, (64, 64), ViewsConfig())
    zoom = (4 / 3 / 0.1) ** 0.5
    assert source.shape == (3, round(64 * zoom), round(64 * zoom))
    assert make_source(huge, (64, 64), ViewsConfig(source=Source.squashed)).shape == (3, 64, 64)
    wide = make_source(torch.zeros(3, 1500, 1500), (56, 168), ViewsConfig())  # not square views: width by width
    assert wide.shape == (3, round(56 * (4 / 3 / 3 / 0.1) ** 0.5), round(168 * (3 / 0.75 / 0.1) ** 0.5))
    small = torch.rand(3, 40, 50)
    assert make_source(small, (64, 64), ViewsConfig()) is small


@pytest.mark.parametrize(
    "options",
    [
        {"num_views": 0},
        {"held_out_views": -1},
        {"area_min": 0.0},
        {"area_min": 0.6},
        {"area_max": 1.5},
        {"aspect_min": 2.0},
        {"flip_probability": 1.5},
    ],
)
def test_ranges_that_make_no_crop_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        ViewsConfig(**options)


SQUARE = PatchGrid.of((224, 224), 16)


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("source_hw", [(300, 400), (1, 3), (90, 1200)])
@pytest.mark.parametrize("num_views", [1, 5, 16, 34, 61])
def test_every_layout_gives_the_views_asked_for_inside_the_image(layout, source_hw, num_views):
    config = ViewsConfig(layout=layout)
    crops = sample_crops(source_hw, SQUARE, num_views, 3, config)
    assert len(crops) == num_views and crops == sample_crops(source_hw, SQUARE, num_views, 3, config)
    height, width = source_hw
    for crop in crops:
        assert crop.width >= 1 and crop.height >= 1 and crop.left >= 0 and crop.top >= 0
        assert crop.left + crop.width <= width and crop.top + crop.height <= height
    if source_hw == (300, 400):
        assert crops != sample_crops(source_hw, SQUARE, num_views, 4, config)


def test_sobol_crops_are_spread_more_evenly_than_random_ones():
    """The deviation of the mean area of 32 crops from the middle of the range, over seeds."""
    config, spread = ViewsConfig(), {}
    for layout in (random_crops, sobol_crops):
        errors = [
            np.mean([c.width * c.height / 120_000 for c in layout((300, 400), (224, 224), 32, seed, config)]) - 0.3
            for seed in range(20)
        ]
        spread[layout] = np.sqrt(np.mean(np.square(errors)))
    assert spread[sobol_crops] < 0.3 * spread[random_crops]
    assert sobol_crops((300, 400), (224, 224), 9, 0, config) == sobol_crops((300, 400), (224, 224), 20, 0, config)[:9]


def test_windows_of_a_grid_by_hand():
    """34 views: 5 x 5 small and 3 x 3 large windows, from edge to edge, within half a patch of their places."""
    crops = grid_crops((1000, 1000), SQUARE, 34, 0, ViewsConfig())
    small, large = crops[:25], crops[25:]
    assert {(c.width, c.height) for c in small} == {(400, 400)} and {(c.width, c.height) for c in large} == {(600, 600)}
    for number, crop in enumerate(small):
        assert abs(crop.left - number % 5 * 150) <= 400 / 28 + 1 and abs(crop.top - number // 5 * 150) <= 400 / 28 + 1
    assert sum(c.flip for c in crops) == 17 and all(a.flip != b.flip for a, b in pairwise(crops))
    covered = torch.zeros(1000, 1000)
    for crop in small:
        covered[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width] += 1
    assert covered[15:-15, 15:-15].min() >= 1
    assert {c.flip for c in grid_crops((99, 99), SQUARE, 16, 0, ViewsConfig(flip_probability=0))} == {False}
    assert {c.flip for c in grid_crops((99, 99), SQUARE, 16, 0, ViewsConfig(flip_probability=1))} == {True}
