"""The images of the demo: shipped by packages, copied, cut into pieces."""

import pytest
from PIL import Image

from dvt import files
from dvt.demo.images import DEMO_IMAGES, DemoImage, source_of, write_images, write_pieces
from dvt.errors import ImageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def images(folder):
    return write_images(folder / "photographs")


def test_six_images_with_their_authors(images):
    assert [file.path.stem for file in images] == [each.name for each in DEMO_IMAGES] and len(images) == 6
    for file, each in zip(images, DEMO_IMAGES, strict=True):
        with Image.open(file.path) as image:
            assert image.mode == "RGB" and min(image.size) >= 300
        assert any(licence in each.credit for licence in ("CC0", "CC BY 2.0", "public domain"))


def test_existing_files_are_kept(images, folder):
    Image.new("RGB", (8, 8)).save(images[0].path)
    assert write_images(folder / "photographs") == images
    with Image.open(images[0].path) as image:
        assert image.size == (8, 8)
    images[0].path.unlink()
    write_images(folder / "photographs")


def test_five_pieces_of_each(images, folder):
    pieces = write_pieces(images, folder / "pieces")
    assert len(pieces) == 30 and len({piece.key for piece in pieces}) == 30
    with Image.open(images[1].path) as whole, Image.open(pieces[9].path) as piece:
        assert piece.size == (whole.width * 2 // 3, whole.height * 2 // 3)
        corner = whole.width - piece.width, whole.height - piece.height  # the last piece ends in the lower right
        differences = [abs(x - y) for x, y in zip(corner, (2 * whole.width // 6, 2 * whole.height // 6), strict=True)]
        assert max(differences) <= 1
        assert piece.getpixel((5, 5)) == whole.getpixel((2 * whole.width // 6 + 5, 2 * whole.height // 6 + 5))


@pytest.mark.parametrize("place", [("nosuchpackage", "a.png"), ("skimage", "data/nosuch.png")])
def test_a_missing_package(place):
    message = rf'image x of the demo ships inside {place[0]}.*pip install "denoising-vit\[demo\]"'
    with pytest.raises(ImageError, match=message):
        source_of(DemoImage("x", *place, credit="nobody"))


def test_an_interrupted_copy_leaves_no_partial_image(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_images(tmp_path / "photographs")
    assert list((tmp_path / "photographs").iterdir()) == []
