"""Windows show the same content in the same pixels of a patch, for any image and grid."""

import pytest
import torch
from PIL import Image
from torch.nn import functional

from dvt.diagnosis.config import MIN_IMAGES, ArtifactScoresConfig
from dvt.diagnosis.windows import choose_images, cut_windows
from dvt.errors import ConfigError, ImageError
from dvt.grid import PatchGrid
from dvt.images import read_image
from dvt.images.resize import resize
from dvt.images.sources import ImageFile

SQUARE = PatchGrid.of((64, 64), 8)


def patch_colours(window, grid):
    """(H, W, 3) the mean colour of every patch of a window that is squashed to the size of the grid."""
    pixels = resize(window, grid.image_hw)
    return functional.avg_pool2d(pixels[None], grid.patch, grid.stride)[0].permute(1, 2, 0)


def overlap(pair, grid):
    """Colours of the patches that both windows look at, by the promise of `shift`."""
    first, second = patch_colours(pair.first, grid), patch_colours(pair.second, grid)
    (down, right), (rows, columns) = pair.shift, grid.hw
    here = [(r + down, c + right) for r in range(rows) for c in range(columns)]
    return torch.stack(
        [torch.stack((first[r, c], second[r - down, c - right])) for r, c in here if 0 <= r < rows and 0 <= c < columns]
    ).unbind(dim=1)


@pytest.mark.parametrize(
    "grid",
    [
        SQUARE,
        PatchGrid.of((64, 96), 8),
        PatchGrid.of((70, 70), 14),
        PatchGrid.of((64, 64), 16, 8),
        PatchGrid.of((70, 70), 14, 7),
        PatchGrid.of((62, 62), 14, 4),
        PatchGrid.of((32, 32), 16),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(300, 200), (90, 120), (20, 31), (1000, 700)], ids=str)
def test_the_same_patch_shows_the_same(grid, size):
    noise = torch.rand(3, 13, 17, generator=torch.Generator().manual_seed(0))
    image = resize(noise, size).clamp(0, 1)
    for number in (0, 2):
        pair = cut_windows(image, grid, number, seed=number)
        assert pair.first.shape == pair.second.shape
        assert pair.first.shape[1] * grid.image_hw[1] == pair.first.shape[2] * grid.image_hw[0]  # no distortion
        one, other = overlap(pair, grid)
        difference = (one - other).abs()
        # the interpolation of a window ends at its edge, which touches the outermost patches of the overlap a little
        assert difference.mean() < 0.02 * image.std() and difference.max() < 0.3 * image.std()


def test_another_shift_would_not_do():
    image = torch.rand(3, 200, 200, generator=torch.Generator().manual_seed(0))
    pair = cut_windows(resize(image[:, :40, :40], (200, 200)).clamp(0, 1), SQUARE, 0, seed=1)
    first, second = patch_colours(pair.first, SQUARE), patch_colours(pair.second, SQUARE)
    assert pair.shift == (3, 3)
    assert (first[3:, 3:] - second[:-3, :-3]).abs().mean() < 0.1 * (first[2:, 2:] - second[:-2, :-2]).abs().mean()


def test_directions_and_halves_do_not_coincide():
    """Even and odd numbers, the two halves of the scores, both see both directions."""
    image = torch.rand(3, 100, 100)
    shifts = [cut_windows(image, SQUARE, number, seed=0).shift for number in range(8)]
    assert shifts == [(3, 3), (3, 3), (3, -3), (3, -3)] * 2


def test_layout_is_mixed():
    """A image that is bright above and to the left: flips make all four corners equally bright."""
    y, x = torch.meshgrid(torch.linspace(1, 0, 120), torch.linspace(1, 0, 120), indexing="ij")
    image = (0.7 * y + 0.3 * x).expand(3, -1, -1)
    tilts = []
    for seed in range(60):
        colours = patch_colours(cut_windows(image, SQUARE, 0, seed=seed).first, SQUARE)[..., 0]
        tilts.append(
            torch.stack((colours[-1].mean() - colours[0].mean(), colours[:, -1].mean() - colours[:, 0].mean()))
        )
    tilts = torch.stack(tilts)
    assert (tilts.abs() > 0.03).all() and (tilts.sign().mean(dim=0).abs() < 0.35).all()


def test_windows_depend_on_the_seed_alone():
    image = torch.rand(3, 100, 100)
    one, same, other = (cut_windows(image, SQUARE, 0, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(one.first, same.first) and torch.equal(one.second, same.second)
    assert one.first.shape != other.first.shape or not torch.equal(one.first, other.first)


def test_a_huge_image_is_reduced_first():
    window = cut_windows(torch.rand(3, 2000, 2000), SQUARE, 0, seed=0).first
    assert 128 <= window.shape[1] <= 4 * 64


@pytest.fixture
def files(tmp_path):
    """Images of one colour, a different one each."""

    def make(count, copies=0):
        for number in range(count + copies):
            Image.new("RGB", (2, 1), (number if number < count else 0, 0, 0)).save(tmp_path / f"{number}.png")
        return [ImageFile(f"{number}.png", tmp_path / f"{number}.png") for number in range(count + copies)]

    return make


def test_the_choice_of_images(files):
    chosen = choose_images(files(100), 20, seed=0)
    assert len({image.key for image in chosen.images}) == 20 and chosen == choose_images(files(100), 20, seed=0)
    assert chosen.images != choose_images(files(100), 20, seed=1).images and not chosen.failed
    assert len(choose_images(files(30), 100, seed=0).images) == 30


def test_copies_count_once(files):
    chosen = choose_images(files(30, copies=70), 100, seed=0).images
    assert sorted(read_image(image.path)[0, 0, 0].mul(255).round().int().item() for image in chosen) == [*range(30)]
    with pytest.raises(ImageError, match=r"found 1 \(100 files, 99 are copies\)"):
        choose_images(files(1, copies=99), 20, seed=0)


def test_too_few_images(files):
    with pytest.raises(ImageError, match=f"need at least {MIN_IMAGES} images.*found 3\\. Give"):
        choose_images(files(3), 20, seed=0)


def test_others_are_drawn_in_place_of_those_that_cannot_be_read(files):
    images = files(20)
    whole = choose_images(images, 17, seed=0)
    gone, text, last = (whole.images[place] for place in (3, 5, 16))
    gone.path.unlink()
    text.path.write_text("text")
    chosen = choose_images(images, 17, seed=0)
    assert len(chosen.images) == 17 and set(chosen.images).isdisjoint({gone, text}) and last in chosen.images
    assert set(chosen.failed) == {gone.key, text.key} and "No such file" in chosen.failed[gone.key]
    assert "is not an image" in chosen.failed[text.key]
    for image in images[:5]:
        image.path.write_text("text")
    with pytest.raises(ImageError, match=r"found 1[0-5]; [5-7] cannot be read: .*\. Give a folder"):
        choose_images(images, 20, seed=0)


@pytest.mark.parametrize(("option", "value"), [("num_images", 3), ("seeds", 0)])
def test_invalid_options(option, value):
    with pytest.raises(ConfigError, match=f"{option}={value}: give at least"):
        ArtifactScoresConfig(**{option: value})
