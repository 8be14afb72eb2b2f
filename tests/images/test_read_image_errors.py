"""read_image refuses what it cannot read truly, and says what, why and what to do."""

import inspect
import io
import os
import struct
import threading
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from dvt.errors import ImageError
from dvt.images import read_image


def refused(image, **options):
    with pytest.raises(ImageError) as caught:
        read_image(image, **options)
    return str(caught.value)


def encoded(format_name, size=(64, 48), **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format_name, **options)
    return stream.getvalue()


def png_header_only(width, height):
    """A PNG that claims a size and holds no pixels to speak of."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_missing_file(tmp_path):
    text = refused(tmp_path / "cat.jpg")
    assert text.startswith(f"{tmp_path / 'cat.jpg'} does not exist")
    assert "check the path" in text


def test_folder(tmp_path):
    text = refused(tmp_path)
    assert f"{tmp_path} is a folder; expected one image file" in text
    assert "find_images" in text


def test_file_taken_for_a_folder(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded("JPEG"))
    assert "cannot be opened: Not a directory" in refused(tmp_path / "a.jpg" / "b.jpg")


def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "not a regular file" in refused(tmp_path / "pipe.jpg")


def test_impossible_name():
    assert "cannot be opened: embedded null byte" in refused("a\0b.jpg")


def test_text_renamed_to_jpg(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("remember the milk\n" * 100)
    text = refused(path)
    assert f"{path} is not an image Pillow can read" in text
    assert ".png" in text


def test_document_formats_are_not_opened(tmp_path):
    path = tmp_path / "a.eps"
    Image.new("RGB", (4, 4)).save(path)
    assert "is not an image Pillow can read" in refused(path)


def test_empty_file(tmp_path):
    (tmp_path / "a.png").touch()
    assert f"{tmp_path / 'a.png'} is empty (0 bytes)" in refused(tmp_path / "a.png")


@pytest.mark.parametrize("forbidden", ["private", "private/a.png"])
def test_forbidden_file(open_folder, as_stranger, forbidden):
    path = open_folder / "private" / "a.png"
    path.parent.mkdir()
    path.write_bytes(encoded("PNG"))
    (open_folder / forbidden).chmod(0o000)
    try:
        with as_stranger():
            text = refused(path)
    finally:
        path.parent.chmod(0o755)
    assert f"{path} cannot be opened: Permission denied" in text


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    ("suffix", "format_name", "options"),
    [
        ("jpg", "JPEG", {}),
        ("jpg", "JPEG", {"progressive": True}),
        ("png", "PNG", {}),
        ("webp", "WEBP", {}),
        ("bmp", "BMP", {}),
        ("tif", "TIFF", {}),
        ("gif", "GIF", {}),
        ("ppm", "PPM", {}),
        ("jp2", "JPEG2000", {}),
    ],
)
def test_truncated_file_is_never_filled_up(tmp_path, monkeypatch, suffix, format_name, options, keep):
    # Other packages switch this on for the whole process.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    whole = encoded(format_name, **options)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(whole)
    assert read_image(path).shape == (3, 48, 64)
    path.write_bytes(whole[: int(len(whole) * keep)])
    text = refused(path)
    assert str(path) in text
    assert "damaged or truncated" in text
    assert "copy or download it again" in text


def test_truncated_pil_image(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with Image.open(io.BytesIO(encoded("JPEG")[:1500])) as image:
        assert "the PIL image is damaged or truncated" in refused(image)


@pytest.mark.parametrize("pillow_limit", [None, 10, 10**9], ids=str)
def test_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch, pillow_limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header_only(50_000, 40_000))
    text = refused(path)
    assert f"{path} has 50000 x 40000 = 2000000000 pixels, more than the 100000000 allowed" in text
    assert "max_pixels=2000000000" in text
    assert pillow_limit == Image.MAX_IMAGE_PIXELS


def test_max_pixels_is_the_last_size_allowed(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG", size=(8, 5)))
    assert read_image(path, max_pixels=40).shape == (3, 5, 8)
    assert "8 x 5 = 40 pixels, more than the 39 allowed" in refused(path, max_pixels=39)
    with Image.open(path) as image:
        assert "the PIL image has 8 x 5" in refused(image, max_pixels=39)


def test_pillows_own_limit_does_not_interfere(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG"))
    for limit in (64 * 48 - 1, 1):  # Pillow would warn, Pillow would raise
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert read_image(path).shape == (3, 48, 64)


def test_threads_leave_pillows_limit_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG"))
    shapes = []
    threads = [threading.Thread(target=lambda: shapes.append(read_image(path).shape)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shapes == [(3, 48, 64)] * 16
    assert Image.MAX_IMAGE_PIXELS == 1


@pytest.mark.parametrize(("low", "high"), [(-1, 5), (0, 70000)])
def test_integer_grey_out_of_range(tmp_path, low, high):
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[low, high]], dtype=np.int32)).save(path)
    text = refused(path)
    assert f"{path} is grey with values from {low} to {high}; expected 0 to 65535" in text


@pytest.mark.parametrize("value", [-0.5, 1.5, float("nan")])
def test_float_grey_out_of_range(tmp_path, value):
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[0.5, value]], dtype=np.float32)).save(path)
    text = refused(path)
    assert f"{path} holds floats from" in text
    assert "expected 0 to 1" in text


@pytest.mark.parametrize("shape", [(4, 5), (1, 3, 4, 5), (4, 5, 3), (1, 4, 5), (3, 0, 5)], ids=str)
def test_tensor_of_wrong_shape(shape):
    text = refused(torch.zeros(shape))
    assert str(tuple(shape)) in text
    assert "Expected (3, height, width)" in text


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_tensor_of_wrong_type(dtype):
    text = refused(torch.zeros(3, 4, 5, dtype=dtype))
    assert f"type {dtype}" in text
    assert "/ 255" in text


def test_normalised_tensor():
    text = refused(torch.linspace(-2, 2.5, 60).reshape(3, 4, 5))
    assert "values from -2 to 2.5" in text
    assert "normalised by mean and standard deviation" in text


def test_tensor_of_0_to_255():
    text = refused(torch.linspace(0, 255, 60).reshape(3, 4, 5))
    assert "values from 0 to 255" in text
    assert "scaled to 0..255" in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_tensor_that_is_not_finite(value):
    image = torch.zeros(3, 4, 5)
    image[1, 2, 3] = value
    assert "holds 1 values that are NaN or infinite" in refused(image)


@pytest.mark.parametrize("array", [np.zeros((4, 5, 3)), np.zeros((3, 4, 5), np.uint8), np.zeros((4, 5), np.uint8)])
def test_array_of_another_kind(array):
    text = refused(array)
    assert f"an array of shape {array.shape}" in text
    assert "(height, width, 3)" in text


def test_something_else_entirely():
    with pytest.raises(ImageError, match=r"an image of type list cannot be read. Give a path"):
        inspect.unwrap(read_image)([[1, 2], [3, 4]])  # for where the suite checks types at run time
