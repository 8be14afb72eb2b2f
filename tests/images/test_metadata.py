"""Metadata that cannot be parsed, on whole pixels: the image is read."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from dvt.images import read_image

CONTAINERS = (".jpg", ".png", ".webp")
PIXELS = np.random.default_rng(0).integers(0, 255, (12, 20, 3), dtype=np.uint8)


def saved(suffix, exif):
    buffer = io.BytesIO()
    kind = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}[suffix]
    Image.fromarray(PIXELS).save(buffer, kind, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", CONTAINERS)
@settings(max_examples=60, deadline=None)
@given(exif=st.binary(max_size=200), header=st.sampled_from([b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0", b"MM\0*", b""]))
def test_any_bytes_as_exif_leave_the_pixels(suffix, exif, header, tmp_path_factory):
    path = tmp_path_factory.mktemp("exif") / f"a{suffix}"
    path.write_bytes(saved(suffix, header + exif))
    image = (read_image(path) * 255).round().byte().permute(1, 2, 0)
    assert sorted(image.shape) == [3, 12, 20]
    if suffix != ".jpg":  # without a loss; some bytes happen to name an orientation
        assert any(torch.equal(image, turned) for turned in all_turns(torch.from_numpy(PIXELS)))


def all_turns(pixels):
    """An image in its eight orientations."""
    for exchanged in (pixels, pixels.transpose(0, 1)):
        for dims in ((), (0,), (1,), (0, 1)):
            yield exchanged.flip(dims)


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_rational_that_pillow_cannot_write_again(suffix, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x011A] = TiffImagePlugin.IFDRational(1, 1)
    data = saved(suffix, exif.tobytes().replace(b"\0\0\0\x01\0\0\0\x01", b"\0\0\0\0\xff\xff\xff\xff"))
    (tmp_path / f"a{suffix}").write_bytes(data)
    image = read_image(tmp_path / f"a{suffix}")
    assert image.shape == ((3, 12, 20) if orientation == 1 else (3, 20, 12))


def test_exif_of_a_png_that_is_no_exif(tmp_path):
    (tmp_path / "a.png").write_bytes(saved(".png", b"\0\x08\0\x02garbage"))
    assert torch.equal((read_image(tmp_path / "a.png") * 255).byte().permute(1, 2, 0), torch.from_numpy(PIXELS))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a.png").write_bytes(saved(".png", exif))
    assert read_image(tmp_path / "a.png").shape == (3, 12, 20)
