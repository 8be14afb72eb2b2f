"""Tiles drawn in a grid, with labels and a title."""

import numpy as np
import pytest
import torch
from PIL import Image

from dvt.errors import DvtError
from dvt.viz import Tile, draw_panel
from dvt.viz.panel import default_font, wrap

CHECKER = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 1, 0]]])


def pixels(panel):
    return np.asarray(panel)


def frame_of(panel):
    """Top, left, bottom, right (exclusive) of the tiles' frames, which are drawn on their outermost pixels."""
    frame = (pixels(panel) == 190).all(axis=-1)
    rows, columns = np.nonzero(frame.sum(axis=1) > 20)[0], np.nonzero(frame.any(axis=0))[0]
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def test_panel_is_white_and_as_large_as_its_tiles_and_gaps():
    tile = Tile("raw", CHECKER)
    panel = draw_panel([[tile, tile, tile], [tile]], tile_px=160)
    assert panel.mode == "RGB"
    assert panel.width == 3 * 160 + 4 * 10
    assert panel.getpixel((0, 0)) == panel.getpixel((panel.width - 1, panel.height - 1)) == (255, 255, 255)
    label_px = panel.height - 2 * 160 - 3 * 10
    assert 2 * 11 < label_px < 2 * 40  # two lines of a font of 12 px
    # no tile where the second row is shorter
    assert (pixels(panel)[panel.height // 2 + 30 :, 160 + 20 :] == 255).all()


def test_labels_have_the_size_that_is_asked_for():
    small, large = (pixels(draw_panel([[Tile("raw", CHECKER)]], tile_px=160, label_px=size)) for size in (12, 36))
    heights = [(each[: -160 - 10] < 128).all(axis=-1).any(axis=1).sum() for each in (small, large)]
    assert heights[1] == pytest.approx(3 * heights[0], abs=3)


def test_maps_keep_hard_edges():
    panel = pixels(draw_panel([[Tile("", CHECKER)]], tile_px=160))
    inside = panel[-160 - 10 : -10][4:-4, 10 + 4 : 170 - 4].reshape(-1, 3)
    assert {tuple(colour) for colour in inside.tolist()} == {(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)}


def test_patches_are_at_their_places():
    panel = draw_panel([[Tile("x", CHECKER)]], tile_px=160)
    bottom = panel.height - 10
    assert panel.getpixel((10 + 40, bottom - 120)) == (255, 0, 0)
    assert panel.getpixel((10 + 120, bottom - 120)) == (0, 255, 0)
    assert panel.getpixel((10 + 40, bottom - 40)) == (0, 0, 255)
    assert panel.getpixel((10 + 120, bottom - 40)) == (255, 255, 0)


def test_images_are_smooth():
    image = Image.fromarray((CHECKER * 255).byte().numpy())
    panel = pixels(draw_panel([[Tile("", image)]], tile_px=160))
    assert len(np.unique(panel.reshape(-1, 3), axis=0)) > 100


def test_large_maps_are_averaged_not_sampled():
    stripes = torch.zeros(64, 64, 3)
    stripes[:, ::2] = 1
    panel = draw_panel([[Tile("", stripes)]], tile_px=32)
    assert panel.getpixel((panel.width // 2, panel.height - 20)) == (128, 128, 128)


@pytest.mark.parametrize(("shape", "size"), [((10, 20), (160, 80)), ((20, 10), (80, 160)), ((1, 40), (160, 4))])
def test_aspect_is_kept(shape, size):
    panel = draw_panel([[Tile("", torch.zeros(*shape, 3))]], tile_px=160)
    top, left, bottom, right = frame_of(panel)
    assert (right - left, bottom - top) == size


def test_map_takes_the_aspect_of_its_image():
    panel = draw_panel([[Tile("", CHECKER, aspect=2.0)]], tile_px=160)
    top, left, bottom, right = frame_of(panel)
    assert (right - left, bottom - top) == (160, 80)


def test_labels_are_dark_and_above_their_tiles():
    panel = draw_panel([[Tile("raw", torch.ones(4, 4, 3)), Tile("clean", torch.ones(4, 4, 3))]], tile_px=160)
    frame_top = frame_of(panel)[0]
    dark = pixels(panel).max(axis=-1) < 60
    assert dark[:frame_top, :170].any()
    assert dark[:frame_top, 180:].any()
    assert not dark[frame_top:].any()
    # no letter touches the border
    assert not dark[0].any()
    assert not dark[:, 0].any()


@pytest.mark.parametrize("tile_px", [32, 100, 224, 500])
def test_letters_are_never_smaller_than_twelve_pixels_and_grow_with_the_tile(tile_px):
    panel = draw_panel([[Tile("Agp", torch.ones(4, 4, 3))]], tile_px=tile_px)
    frame_top = frame_of(panel)[0]
    rows = np.nonzero((pixels(panel).max(axis=-1) < 160).any(axis=1))[0]
    assert rows.max() < frame_top
    assert rows.max() - rows.min() + 1 >= max(10, tile_px / 17)  # from the top of A to the foot of g


def test_title_and_long_labels_are_wrapped_within_the_panel():
    short = draw_panel([[Tile("a", CHECKER)]], tile_px=120)
    long = draw_panel([[Tile("a rather long label for a tile", CHECKER)]], tile_px=120, title="a title of many words")
    assert long.width == short.width
    assert long.height > short.height + 40
    assert not (pixels(long)[:, -5:] < 255).any()


def test_wrap_keeps_every_letter_and_fits():
    font = default_font(14)
    text = "photos/a_very_long_file_name_without_any_space.jpg and words"
    lines = wrap(text, font, 90)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(font.getlength(line) <= 90 for line in lines)
    assert wrap("two words", font, 90) == ["two words"]
    assert wrap("", font, 90) == []


def test_deterministic():
    first, second = (draw_panel([[Tile("raw", CHECKER)]], title="t").tobytes() for _ in range(2))
    assert first == second


def test_images_of_any_mode():
    panel = draw_panel([[Tile("", Image.new("RGBA", (4, 4), (255, 0, 0, 0)))]], tile_px=100)
    assert panel.getpixel((60, panel.height - 50)) == (255, 255, 255)


def test_nothing_to_draw():
    for rows in ([], [[]]):
        with pytest.raises(DvtError, match="no tiles were given"):
            draw_panel(rows)


def test_tile_errors():
    with pytest.raises(DvtError, match="tiles of 31 px are too small"):
        draw_panel([[Tile("", CHECKER)]], tile_px=31)
    for wrong in (CHECKER * 2, CHECKER - 0.5, CHECKER * float("nan"), CHECKER[:0]):
        with pytest.raises(DvtError, match=r"the tile 'raw' has shape .* expected \(rows, columns, 3\) colours in"):
            draw_panel([[Tile("raw", wrong)]])
