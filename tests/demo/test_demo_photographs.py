"""The photographs of the demo are there, are real ones, and are cut as it says."""

import pytest
from PIL import Image

from dvt.demo.photographs import PHOTOGRAPHS, Photograph, source_of, write_photographs, write_pieces
from dvt.errors import ImageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def photographs(folder):
    return write_photographs(folder / "photographs")


def test_six_photographs_with_their_makers(photographs):
    assert [file.path.stem for file in photographs] == [each.name for each in PHOTOGRAPHS] and len(photographs) == 6
    for file, each in zip(photographs, PHOTOGRAPHS, strict=True):
        with Image.open(file.path) as image:
            assert image.mode == "RGB" and min(image.size) >= 300
        assert any(licence in each.credit for licence in ("CC0", "CC BY 2.0", "public domain"))


def test_what_is_there_stays(photographs, folder):
    Image.new("RGB", (8, 8)).save(photographs[0].path)
    assert write_photographs(folder / "photographs") == photographs
    with Image.open(photographs[0].path) as image:
        assert image.size == (8, 8)
    photographs[0].path.unlink()
    write_photographs(folder / "photographs")


def test_five_pieces_of_each(photographs, folder):
    pieces = write_pieces(photographs, folder / "pieces")
    assert len(pieces) == 30 and len({piece.key for piece in pieces}) == 30
    with Image.open(photographs[1].path) as whole, Image.open(pieces[9].path) as piece:
        assert piece.size == (whole.width * 2 // 3, whole.height * 2 // 3)
        corner = whole.width - piece.width, whole.height - piece.height  # the last piece ends in the lower right
        differences = [abs(x - y) for x, y in zip(corner, (2 * whole.width // 6, 2 * whole.height // 6), strict=True)]
        assert max(differences) <= 1
        assert piece.getpixel((5, 5)) == whole.getpixel((2 * whole.width // 6 + 5, 2 * whole.height // 6 + 5))


@pytest.mark.parametrize("place", [("nosuchpackage", "a.png"), ("skimage", "data/nosuch.png")])
def test_a_package_that_is_missing(place):
    with pytest.raises(
        ImageError, match=rf'photograph x of the demo ships inside {place[0]}.*pip install "dvt\[demo\]"'
    ):
        source_of(Photograph("x", *place, credit="nobody"))
