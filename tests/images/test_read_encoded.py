"""The content of a file in memory is read like the file; thumbnails are small and upright."""

import pytest
import torch
from noise import write_noise
from PIL import Image

from dvt.errors import ImageError
from dvt.images.read import check_encoded, read_encoded, read_image, read_thumbnail


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".webp", ".tif", ".bmp", ".ppm", ".avif"])
def test_content_and_file_are_the_same(tmp_path, suffix):
    path = write_noise(tmp_path / f"a{suffix}", (12, 18))
    check_encoded(path.read_bytes(), "a")
    assert torch.equal(read_encoded(path.read_bytes(), "a"), read_image(path))


def test_heic_content(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    path = write_noise(tmp_path / "a.heic", (64, 64))
    assert torch.equal(read_encoded(path.read_bytes(), "a"), read_image(path))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "cat is empty"),
        (b"a text", "cat is not an image"),
        (b"\0\0\0\x1cftypheic", "cat"),
        (b"GIF89a" + b"\xff\xff\xff\xff\0\0\0," + b"\0\0\0\0\xff\xff\xff\xff", "cat has 65535 x 65535"),
    ],
)
def test_errors_name_the_image(content, part):
    for read in (read_encoded, check_encoded):
        with pytest.raises(ImageError, match=part):
            read(content, "cat")


def test_large_content_needs_leave(tmp_path):
    content = write_noise(tmp_path / "a.png", (12, 18)).read_bytes()
    for read in (read_encoded, check_encoded):
        with pytest.raises(ImageError, match="more than the 200 allowed"):
            read(content, "a", max_pixels=200)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_thumbnail(tmp_path, suffix):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (640, 320), (200, 40, 0)).save(tmp_path / f"a{suffix}", exif=exif)
    found = read_thumbnail(tmp_path / f"a{suffix}", 80)
    assert found.shape == (3, 80, 40)
    torch.testing.assert_close(found[:, 40, 20], torch.tensor([200.0, 40, 0]) / 255, atol=0.02, rtol=0)
    assert read_thumbnail(write_noise(tmp_path / "small.png", (1, 3)), 80).shape == (3, 1, 3)
    assert read_thumbnail(write_noise(tmp_path / "thin.png", (1, 900)), 80).shape == (3, 1, 80)
    with pytest.raises(ImageError, match="204800 pixels, more than the 1000 allowed"):
        read_thumbnail(tmp_path / f"a{suffix}", 80, max_pixels=1000)
