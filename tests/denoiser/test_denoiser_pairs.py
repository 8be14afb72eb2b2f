"""Pairs as data sets: what is shown and what is learnt are of the same place."""

import pytest
import torch

from dvt.denoiser.config import PairsConfig
from dvt.denoiser.pairs import StoredPairs
from dvt.errors import ConfigError
from dvt.grid import PatchGrid
from dvt.images import find_images, read_image
from dvt.store import FeatureStore
from dvt.training.config import Missing
from dvt.training.data import Draw
from dvt.training.pairs import CleanMaps, ImagePairs, crop_map, pair_views
from dvt.training.sources import open_sources
from dvt.views.crop import Crop

GRID = PatchGrid.of((64, 64), 16)


@pytest.fixture(scope="module")
def pairs(store, image_folder):
    return open_sources([store], None, find_images(image_folder), missing=Missing.error, group="pairs").pairs


def image_pairs(pairs, crop_area_min=1.0, flip_probability=0.5):
    views = pair_views(crop_area_min, flip_probability)
    return ImagePairs(pairs, clean_maps(pairs), GRID, views, seed=0, max_pixels=10**6)


def clean_maps(pairs):
    return CleanMaps(pairs, GRID, keep=True)


def test_stored_pairs_are_the_records(store, pairs):
    item = StoredPairs(pairs, clean_maps(pairs))[Draw(index=3, number=100)]
    record = FeatureStore.open(store)[item["key"]]
    assert torch.equal(item["raw"], record.raw) and torch.equal(item["clean"], record.clean)


def test_read_by_index_an_image_is_shown_as_it_is(pairs, backbone):
    item = image_pairs(pairs, flip_probability=1.0, crop_area_min=0.3)[2]
    stored = StoredPairs(pairs, clean_maps(pairs))[2]
    assert torch.equal(item["clean"], stored["clean"])
    assert torch.equal(item["image"], backbone.preprocess(read_image(pairs[2].path)))
    raw = backbone(item["image"][None]).patches[0]
    assert (raw - stored["raw"].float()).abs().mean() < 0.01  # stage 1 does not clamp what bicubic resizing overshoots


def test_a_flipped_image_has_a_flipped_target(pairs):
    data = image_pairs(pairs, flip_probability=1.0)
    shown, plain = data[Draw(1, 0)], data[1]
    assert torch.equal(shown["image"], plain["image"].flip(-1))
    assert torch.equal(shown["clean"], plain["clean"].flip(1))


def test_how_a_draw_is_shown_depends_on_its_number_alone(pairs):
    data = image_pairs(pairs, crop_area_min=0.4)
    assert torch.equal(data[Draw(1, 5)]["image"], data[Draw(1, 5)]["image"])
    assert not torch.equal(data[Draw(1, 5)]["image"], data[Draw(1, 6)]["image"])


def test_about_half_of_the_draws_are_mirrored(pairs):
    data = image_pairs(pairs)
    plain = data[0]["image"]
    flips = sum(not torch.equal(data[Draw(0, number)]["image"], plain) for number in range(40))
    assert 10 <= flips <= 30


def ramp(grid):
    """A map whose two channels are the place of its patch: x and y in [0, 1] of the image."""
    return grid.centres_xy.clone()


@pytest.mark.parametrize("flip", [False, True])
def test_a_crop_of_a_map_holds_the_places_that_the_crop_shows(flip):
    crop = Crop(left=20, top=40, width=60, height=40, flip=flip)  # of an image of 100 x 120, inside the outer centres
    clean = crop_map(ramp(GRID), crop, GRID, source_hw=(120, 100))
    inside = GRID.centres_xy.clone()
    inside[..., 0] = 1 - inside[..., 0] if flip else inside[..., 0]
    wanted = torch.stack(((20 + 60 * inside[..., 0]) / 100, (40 + 40 * inside[..., 1]) / 120), dim=-1)
    assert torch.allclose(clean, wanted, atol=1e-5)


def test_beyond_the_outer_centres_the_map_continues():
    corner = crop_map(ramp(GRID), Crop(left=0, top=0, width=16, height=16), GRID, source_hw=(128, 128))
    assert torch.allclose(corner, torch.full_like(corner, 1 / 8))


def test_values_without_meaning_are_refused():
    for wrong in ({"val_share": 0.0}, {"crop_area_min": 0.0}, {"flip_probability": 1.5}):
        with pytest.raises(ConfigError, match=f"pairs.{next(iter(wrong))}"):
            PairsConfig(**wrong)
