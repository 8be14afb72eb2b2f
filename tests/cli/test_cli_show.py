"""`dvt show` writes the picture that was asked for, and refuses at once what it could not write."""

import pytest
from PIL import Image


@pytest.mark.parametrize("method", ["raw", "decomposed", "raw,decomposed"])
def test_a_picture_is_written(tiny, photo, tmp_path, method):
    photo("cat.jpg")
    result = tiny("show", "image=cat.jpg", f"method=[{method}]", "patch=[0,3]")
    assert result.code == 0 and result.out == "cat.dvt.png\n"
    with Image.open(tmp_path / "cat.dvt.png") as panel:
        assert panel.mode == "RGB" and min(panel.size) > 200


def test_more_methods_make_a_larger_picture(tiny, photo, tmp_path):
    photo("cat.jpg")
    assert tiny("show", "image=cat.jpg", "method=[raw]", "out=new folder/raw.png").code == 0
    assert tiny("show", "image=cat.jpg", "out=new folder/all.jpg").code == 0
    with Image.open(tmp_path / "new folder/raw.png") as raw, Image.open(tmp_path / "new folder/all.jpg") as everything:
        assert raw.height < everything.height or raw.width < everything.width


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["patch=[4,0]"], "patch=[0,0] to patch=[3,3]"),
        (["patch=[0,-1]"], "patch=[0,0] to patch=[3,3]"),
        (["patch=[1]"], "a row and a column"),
        (["patch=[1,2,3]"], "a row and a column"),
        (["patch=3"], "patch=3: give a list"),
        (["patch=[a,b]"], "patch=[a,b]"),
        (["out=cat.gif"], "ends in .gif"),
        (["out=cat"], "no suffix"),
        (["out=folder.png"], "is a folder"),
        (["out=cat.jpg"], "is the image itself"),
        (["out=cat.jpg/x.png"], "cannot be written"),
        (["image=folder.png"], "is a folder"),
    ],
)
def test_what_cannot_be_shown_is_refused_before_the_work(tiny, photo, tmp_path, monkeypatch, options, part):
    photo("cat.jpg"), (tmp_path / "folder.png").mkdir()
    monkeypatch.setattr("dvt.decomposition.run.decompose_image", None)  # the work is not begun
    result = tiny("show", "image=cat.jpg", *options)
    assert result.code == 2 and part in result.err, result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat.jpg", "folder.png"]


def test_denoised_features_beside_the_others(tiny, dvt, photo, tmp_path):
    for number in range(3):
        photo(f"photos/{number}.png", seed=number)
    tiny("decompose", "images=photos", "store=store")
    few = ("num_steps=2", "batch_size=2", "show_every=0", "trainer=cpu", "logger=none")
    assert dvt("train", "store=store", "out=run", *few).code == 0
    shown = tiny("show", "image=photos/0.png", "method=[raw,decomposed,denoised]", "denoiser=run")
    assert shown.code == 0, shown.err
    with Image.open(tmp_path / "0.dvt.png") as panel:
        assert panel.width > 3 * 224


def test_denoised_needs_a_denoiser(tiny, photo):
    photo("a.png")
    result = tiny("show", "image=a.png", "method=[raw,denoised]")
    assert result.code == 2 and "to show denoised features give both" in result.err
