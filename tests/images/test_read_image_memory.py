"""Memory of reading large images: the floats of the whole image exist once."""

from pathlib import Path

import pytest
from PIL import Image

from dvt.errors import ImageError
from dvt.images import read_image

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs the peak memory of Linux")
MIB = 2**20


def memory(name):
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))


def peak_of(call):
    """Most memory that a call took beyond what there was before."""
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    call()
    return memory("VmHWM") - before


@pytest.mark.parametrize(
    ("kind", "mode", "decoded"),  # bytes per pixel as Pillow and the decoder keep them
    [("PNG", "RGB", 4), ("PNG", "RGBA", 4), ("PNG", "I;16", 4), ("TIFF", "F", 8)],
)
def test_an_image_takes_its_floats_once(kind, mode, decoded, tmp_path):
    path = tmp_path / "large"
    side = 2000
    Image.new(mode, (side, side)).save(path, kind)
    read_image(path, max_pixels=side**2)
    taken = peak_of(lambda: read_image(path))
    assert taken < (12 + decoded) * side**2 + 40 * MIB, f"{taken / MIB:.0f} MiB"


def test_a_gif_with_a_huge_frame_is_refused_before_pillow_fills_it(tmp_path):
    """Pillow fills a frame that is to be erased when it opens the file, whatever the size: here 4 GB."""
    path = tmp_path / "bomb.gif"
    head = b"GIF89a\x08\0\x08\0\x80\0\0" + bytes(6)
    erased = b"!\xf9\x04\x08\0\0\0\0"
    path.write_bytes(head + b"!\xfe\x02ab\0" + erased + b",\0\0\0\0\x60\xea\x60\xea\0\x02\x02\x44\x01\0;")

    def refused():
        with pytest.raises(
            ImageError, match=r"bomb.gif has 60000 x 60000 = 3600000000 pixels, more than the 100000000"
        ):
            read_image(path)

    assert peak_of(refused) < 50 * MIB


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "gib"),  # the decoder of WebP keeps two canvases of its own
    [("PNG", 2), ("WEBP", 2.4), ("GIF", 2), ("TIFF", 2), ("JPEG", 2), ("JPEG2000", 2), ("BMP", 2)],
)
def test_the_largest_image_allowed_takes_about_2_gb(kind, gib, tmp_path):
    path = tmp_path / "large"
    Image.new("L" if kind == "GIF" else "RGB", (10_000, 10_000)).save(path, kind)
    assert peak_of(lambda: read_image(path)) < gib * 2**30
