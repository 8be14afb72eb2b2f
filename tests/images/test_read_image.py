"""read_image: every kind of picture arrives as the same kind of tensor."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, TiffImagePlugin

from dvt.errors import ImageError
from dvt.images import read_image

EXACT = {"rtol": 0, "atol": 1e-7}


def save(path, image, **options):
    image.save(path, **options)
    return path


def pixel(tensor, row=0, column=0):
    return tensor[:, row, column].tolist()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".webp", ".jp2"])
def test_rgb_pixels_arrive_in_place(tmp_path, suffix):
    array = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14
    options = {"lossless": True} if suffix == ".webp" else {}
    image = read_image(save(tmp_path / f"a{suffix}", Image.fromarray(array), **options))
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    torch.testing.assert_close(image, torch.from_numpy(array).permute(2, 0, 1) / 255, **EXACT)


def test_path_may_be_text_and_start_at_home(tmp_path, monkeypatch):
    save(tmp_path / "a.png", Image.new("RGB", (3, 2), (255, 0, 0)))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pixel(read_image("~/a.png")) == [1, 0, 0]


def test_file_merely_called_tilde_is_read(tmp_path, monkeypatch):
    save(tmp_path / "~nobody_of_this_name.png", Image.new("RGB", (3, 2), (0, 255, 0)))
    monkeypatch.chdir(tmp_path)
    assert pixel(read_image("~nobody_of_this_name.png")) == [0, 1, 0]


def test_name_does_not_matter_content_does(tmp_path):
    path = tmp_path / "a.jpg"
    save(path, Image.new("RGB", (3, 2), (0, 0, 255)), format="PNG")
    assert pixel(read_image(path)) == [0, 0, 1]


def test_one_pixel_is_readable(tmp_path):
    assert read_image(save(tmp_path / "a.png", Image.new("RGB", (1, 1), (51, 0, 0)))).shape == (3, 1, 1)


# What the stored picture [[a b c], [d e f]] looks like upright, by EXIF orientation.
UPRIGHT = {
    1: ["abc", "def"],
    2: ["cba", "fed"],
    3: ["fed", "cba"],
    4: ["def", "abc"],
    5: ["ad", "be", "cf"],
    6: ["da", "eb", "fc"],
    7: ["fc", "eb", "da"],
    8: ["cf", "be", "ad"],
}


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied_once(tmp_path, orientation, suffix):
    stored = np.array([[ord(letter) for letter in row] for row in ["abc", "def"]], dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == ".webp" else {}
    path = save(tmp_path / f"a{suffix}", Image.fromarray(np.stack([stored] * 3, -1)), exif=exif, **options)
    grey = (read_image(path)[0] * 255).round().int().tolist()
    assert ["".join(map(chr, row)) for row in grey] == UPRIGHT[orientation]


def test_cmyk_inks_become_colours(tmp_path):
    inks = np.zeros((1, 5, 4), dtype=np.uint8)
    for column, ink in enumerate([(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)]):
        inks[0, column] = ink
    image = read_image(save(tmp_path / "a.tif", cmyk(inks)))
    colours = [pixel(image, 0, column) for column in range(5)]
    assert colours == [[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]]


def cmyk(inks):
    return Image.frombytes("CMYK", (inks.shape[1], inks.shape[0]), inks.tobytes())


def test_adobe_inverted_cmyk_jpeg_is_not_a_negative(tmp_path):
    path = save(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (255, 0, 0, 0)), quality=100)
    assert b"Adobe" in path.read_bytes(), "the case is about files with Adobe's marker, which store ink inverted"
    torch.testing.assert_close(read_image(path)[:, 8, 8], torch.tensor([0.0, 1.0, 1.0]), rtol=0, atol=0.02)


RAMP = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bit_grey_keeps_its_depth(tmp_path, suffix):
    image = read_image(save(tmp_path / f"a{suffix}", Image.fromarray(RAMP)))
    torch.testing.assert_close(image[0, 0], torch.from_numpy(RAMP[0] / 65535).float(), **EXACT)
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[0], image[2])


def test_32_bit_integer_grey_is_read_as_16_bit(tmp_path):
    image = read_image(save(tmp_path / "a.tif", Image.fromarray(RAMP.astype(np.int32))))
    torch.testing.assert_close(image[0, 0], torch.from_numpy(RAMP[0] / 65535).float(), **EXACT)


def test_16_bit_big_endian_tiff(tmp_path):
    image = Image.frombytes("I;16B", (5, 1), RAMP.astype(">u2").tobytes())
    torch.testing.assert_close(
        read_image(save(tmp_path / "a.tif", image))[0, 0], torch.from_numpy(RAMP[0] / 65535).float(), **EXACT
    )


def test_16_bit_tiff_with_white_as_zero_is_not_a_negative(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    path = save(tmp_path / "a.tif", Image.fromarray(RAMP), tiffinfo=tags)
    with Image.open(path) as stored:
        assert stored.tag_v2[262] == 0
    torch.testing.assert_close(read_image(path)[0, 0], torch.from_numpy(1 - RAMP[0] / 65535).float(), **EXACT)


def test_12_bit_tiff_reaches_white(tmp_path):
    # Two pixels of 12 bits, 0xFFF and 0x800, in three bytes.
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    # width, height, bits, not compressed, zero is black, strip (right behind the tags), samples, rows, bytes
    for tag, value in {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1, 279: 3}.items():
        tags[tag] = value
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + (8).to_bytes(4, "little") + tags.tobytes(8) + b"\xff\xf8\x00")
    torch.testing.assert_close(read_image(path)[0, 0], torch.tensor([1.0, 0x800 / 4095]), **EXACT)


def test_float_grey_within_range(tmp_path):
    values = np.array([[0.0, 0.25, 1.0]], dtype=np.float32)
    assert read_image(save(tmp_path / "a.tif", Image.fromarray(values)))[1, 0].tolist() == [0, 0.25, 1]


def test_rgba_lies_on_white(tmp_path):
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (255, 0, 0, 51)])
    tensor = read_image(save(tmp_path / "a.png", image))
    torch.testing.assert_close(tensor[:, 0].T, torch.tensor([[1.0, 0, 0], [1, 1, 1], [1, 0.8, 0.8]]), **EXACT)


def test_white_stays_white_under_any_transparency():
    image = Image.new("RGBA", (256, 1))
    image.putdata([(255, 255, 255, alpha) for alpha in range(256)])
    assert torch.equal(read_image(image), torch.ones(3, 1, 256))


def test_grey_with_alpha_lies_on_white(tmp_path):
    image = Image.new("LA", (2, 1))
    image.putdata([(0, 51), (102, 255)])
    tensor = read_image(save(tmp_path / "a.png", image))
    torch.testing.assert_close(tensor[:, 0].T, torch.tensor([[0.8] * 3, [0.4] * 3]), **EXACT)


def test_premultiplied_alpha_lies_on_white():
    straight = Image.new("LA", (1, 1), (0, 51))
    torch.testing.assert_close(read_image(straight.convert("La"))[:, 0, 0], torch.tensor([0.8] * 3), **EXACT)
    colour = Image.new("RGBA", (1, 1), (255, 0, 0, 255))
    assert pixel(read_image(colour.convert("RGBa"))) == [1, 0, 0]


def palette_image():
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    return image


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp"])
def test_palette(tmp_path, suffix):
    assert read_image(save(tmp_path / f"a{suffix}", palette_image()))[:, 0].T.tolist() == torch.eye(3).tolist()


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_transparent_palette_entry_is_white(tmp_path, suffix):
    image = read_image(save(tmp_path / f"a{suffix}", palette_image(), transparency=1))
    assert image[:, 0].T.tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 1]]


def test_palette_with_graded_transparency(tmp_path):
    image = read_image(save(tmp_path / "a.png", palette_image(), transparency=bytes([51, 0, 255])))
    torch.testing.assert_close(image[:, 0].T, torch.tensor([[1, 0.8, 0.8], [1, 1, 1], [0, 0, 1]]), **EXACT)


def test_transparent_colour_without_alpha_channel_is_white(tmp_path):
    image = Image.new("RGB", (2, 1), (0, 0, 0))
    image.putpixel((1, 0), (0, 0, 255))
    tensor = read_image(save(tmp_path / "a.png", image, transparency=(0, 0, 0)))
    assert tensor[:, 0].T.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_transparent_level_of_16_bit_grey_is_white(tmp_path):
    image = read_image(save(tmp_path / "a.png", Image.fromarray(RAMP), transparency=256))
    torch.testing.assert_close(image[0, 0], torch.tensor([0, 255 / 65535, 1, 32768 / 65535, 1]), **EXACT)


def test_grey_and_black_and_white(tmp_path):
    assert pixel(read_image(save(tmp_path / "l.png", Image.new("L", (1, 1), 51)))) == pytest.approx([0.2] * 3)
    bits = Image.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    assert read_image(save(tmp_path / "1.png", bits))[:, 0].T.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_lab(tmp_path):
    image = Image.new("LAB", (2, 1), (0, 128, 128))
    image.putpixel((1, 0), (255, 128, 128))
    tensor = read_image(save(tmp_path / "a.tif", image))
    torch.testing.assert_close(tensor[:, 0].T, torch.tensor([[0.0] * 3, [1.0] * 3]), rtol=0, atol=0.01)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".tif", ".png"])
def test_first_frame_of_several(tmp_path, suffix):
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    path = save(tmp_path / f"a{suffix}", first, save_all=True, append_images=[second])
    with Image.open(path) as stored:
        assert stored.n_frames == 2
    torch.testing.assert_close(read_image(path)[:, 4, 4], torch.tensor([1.0, 0, 0]), rtol=0, atol=0.02)


def test_pil_image_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.jpg", Image.new("RGB", (8, 4)), exif=exif)
    with Image.open(path) as image:
        assert read_image(image).shape == (3, 8, 4)


def test_array_of_bytes():
    array = np.zeros((2, 3, 3), dtype=np.uint8)
    array[1, 2] = (255, 0, 51)
    assert pixel(read_image(array), 1, 2) == pytest.approx([1, 0, 0.2])


def test_tensor_in_its_final_form_is_not_copied():
    image = torch.rand(3, 4, 5)
    assert read_image(image).data_ptr() == image.data_ptr()


def test_tensor_becomes_contiguous_float32_without_gradient():
    image = torch.rand(5, 4, 3, dtype=torch.float64, requires_grad=True).permute(2, 1, 0)
    result = read_image(image)
    assert result.dtype == torch.float32
    assert result.is_contiguous()
    assert not result.requires_grad
    torch.testing.assert_close(result, image.detach().float(), **EXACT)


def test_rounding_beyond_the_range_is_clamped():
    result = read_image(torch.full((3, 2, 2), 1 + 5e-7))
    assert result.max() == 1


def test_pillow_is_left_as_it_was(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", Image.new("RGB", (3, 2)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12345)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    read_image(path)
    with pytest.raises(ValueError, match="more than"):
        read_image(path, max_pixels=5)
    assert Image.MAX_IMAGE_PIXELS == 12345
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_avif_and_heic_are_read_upright(tmp_path):
    """Red left, blue right; AVIF turned by a quarter where the file says so. HEIC is turned by its own decoder."""
    pillow_heif = pytest.importorskip("pillow_heif")
    image = Image.new("RGB", (64, 32), (255, 0, 0))
    image.paste((0, 0, 255), (32, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: red is above
    save(tmp_path / "a.avif", image, quality=90)
    pillow_heif.from_pillow(image).save(tmp_path / "a.heic", quality=90)
    save(tmp_path / "turned.avif", image, quality=90, exif=exif)
    for name in ("a.avif", "a.heic"):
        plain = read_image(tmp_path / name)
        assert plain.shape == (3, 32, 64)
        for found, other in (plain[::2, 16, 8], plain[::2, 16, 56].flip(0)):
            assert found > 0.9 and other < 0.1
    turned = read_image(tmp_path / "turned.avif")
    assert turned.shape == (3, 64, 32)
    for found, other in (turned[::2, 8, 16], turned[::2, 56, 16].flip(0)):
        assert found > 0.9 and other < 0.1


def test_heic_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    monkeypatch.setattr("dvt.images.read.has_heif", lambda: False)
    with pytest.raises(ImageError, match=r"a.jpg is a HEIC image: pip install pillow-heif, or convert it"):
        read_image(tmp_path / "a.jpg")
    monkeypatch.undo()
    with pytest.raises(ImageError, match=r"damaged|pillow-heif"):
        read_image(tmp_path / "a.jpg")
