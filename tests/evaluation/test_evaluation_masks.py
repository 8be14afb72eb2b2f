"""Masks on disk: which numbers are objects, what is void, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from dvt.errors import EvaluationError
from dvt.evaluation.datasets.masks import read_mask

SOFT_OR_NOT = pytest.mark.parametrize("soft", [False, True])


def save(path, values, palette=False):
    image = Image.fromarray(np.asarray(values, np.uint8))
    if palette:
        image.putpalette(bytes(range(256)) * 3)
    image.save(path)
    return path


@SOFT_OR_NOT
def test_white_on_black_is_one_object_in_every_kind_of_file(tmp_path, soft):
    where = np.array([[0, 255], [255, 0]], np.uint8)
    Image.fromarray(where).convert("1").save(tmp_path / "one_bit.png")
    Image.fromarray(where).convert("LA").save(tmp_path / "alpha.png")
    paths = [
        save(tmp_path / "grey.png", where),
        save(tmp_path / "palette.png", where, palette=True),
        save(tmp_path / "rgb.png", where[..., None].repeat(3, axis=-1)),
        *(tmp_path / name for name in ("one_bit.png", "alpha.png")),
    ]
    for path in paths:
        mask = read_mask(path, soft=soft)
        assert mask.numbers == (255,) and (mask.values == 255).tolist() == [[False, True], [True, False]]
        assert np.array_equal(mask.any_object, where > 0) and mask.known.all()


@SOFT_OR_NOT
@pytest.mark.parametrize("palette", [True, False])
def test_255_beside_numbers_is_void(tmp_path, soft, palette):
    mask = read_mask(save(tmp_path / "m.png", [[0, 1, 3], [3, 255, 0]], palette=palette), soft=soft)
    assert mask.numbers == (1, 3) and mask.hw == (2, 3)
    assert mask.any_object.tolist() == [[False, True, True], [True, False, False]]
    assert mask.known.tolist() == [[True, True, True], [True, False, True]]


@SOFT_OR_NOT
def test_an_empty_mask_has_no_object(tmp_path, soft):
    mask = read_mask(save(tmp_path / "m.png", [[0, 0]]), soft=soft)
    assert mask.numbers == () and not mask.any_object.any() and mask.known.all()


def test_numbers_of_a_palette_are_never_cut(tmp_path):
    path = save(tmp_path / "m.png", [[0, 40, 200, 255]], palette=True)
    assert read_mask(path, soft=True).numbers == (40, 200)


def test_soft_edges_are_cut_at_the_half(tmp_path):
    path = save(tmp_path / "m.png", [[0, 3, 127, 128, 250, 255]])
    mask = read_mask(path, soft=True)
    assert mask.values.tolist() == [[0, 0, 0, 255, 255, 255]] and mask.numbers == (255,) and mask.known.all()
    assert read_mask(path).numbers == (3, 127, 128, 250)
    square = np.zeros((32, 32), np.uint8)
    square[9:22, 5:17] = 255
    Image.fromarray(square).convert("RGB").save(tmp_path / "m.jpg", quality=70)
    assert np.array_equal(read_mask(tmp_path / "m.jpg", soft=True).values, square)


def test_what_is_no_mask_is_refused(tmp_path):
    path = tmp_path / "m.png"
    with pytest.raises(EvaluationError, match=r"m\.png is a grey mask with values up to 100; expected 0"):
        read_mask(save(path, [[0, 100]]), soft=True)
    with pytest.raises(EvaluationError, match=r"m\.png is a colour image\. Expected a mask"):
        read_mask(save(path, [[[1, 2, 3]]]))
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(path)
    with pytest.raises(EvaluationError, match=r"pixels of mode I;16\. Expected a mask"):
        read_mask(path)
    path.write_bytes(b"no picture")
    with pytest.raises(EvaluationError, match=r"m\.png cannot be read as a mask .* Expected a mask"):
        read_mask(path)
    save(path, np.random.default_rng(0).integers(0, 2, (99, 99)) * 255)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(EvaluationError, match=r"m\.png cannot be read as a mask"):
        read_mask(path)


def test_a_mask_of_another_size_is_refused(tmp_path):
    mask = read_mask(save(tmp_path / "m.png", [[0, 255, 0]]))
    Image.new("RGB", (3, 1)).save(image := tmp_path / "m.jpg")
    mask.check_hw((1, 3), "its image has", image)
    with pytest.raises(EvaluationError, match=r"m\.png has 1 x 3 px, its image has 3 x 1\. Both"):
        mask.check_hw((3, 1), "its image has", image)
