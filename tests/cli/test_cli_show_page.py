"""`dvt show out=FILE.html` writes the explorer page, and refuses at once what it could not write."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from dvt.decomposition.run import decompose_image


def data(path):
    """The JSON of the images of a page."""
    script = r'<script type="application/json" id="image-\d+">(.*?)</script>'
    return [json.loads(text) for text in re.findall(script, path.read_text("utf-8"), re.DOTALL)]


def test_all_methods_of_an_image(tiny, made, photo, tmp_path):
    made("denoiser")
    photo("cat.jpg")
    methods = "method=[raw,srt,decomposed,denoised]"
    shown = tiny("show", "image=cat.jpg", methods, "denoiser=denoiser", "patch=[0,3]", "out=new/cat.html")
    assert shown.code == 0 and shown.out == "new/cat.html\n", shown.err
    (image,) = data(tmp_path / "new/cat.html")
    assert [each["name"] for each in image["maps"]] == ["raw", "srt", "decomposed", "denoised"]
    assert [each["name"] for each in image["terms"]] == ["artifact", "residual"]
    assert (image["name"], image["width"], image["height"]) == ("cat.jpg", 90, 70)
    page = (tmp_path / "new/cat.html").read_text("utf-8")
    assert '"patch":[0.875,0.125]' in page and "<title>cat.jpg</title>" in page
    assert tiny("show", "image=cat.jpg", methods, "denoiser=denoiser", "patch=[0,3]", "out=again.html").code == 0
    assert (tmp_path / "again.html").read_text("utf-8") == page


def test_several_images_and_fine_features(tiny, photo, tmp_path):
    photo("photos/a.jpg"), photo("photos/deep/b.jpg", seed=1)
    (tmp_path / "photos" / "broken.png").write_text("no image")
    nodes = "closed_form.nodes_per_patch=2"
    shown = tiny("show", "image=photos", "method=[raw,decomposed]", "fine=2", nodes, "out=all.html")
    assert shown.code == 3 and "failed: broken.png: " in shown.err
    images = data(tmp_path / "all.html")
    assert [each["name"] for each in images] == ["a.jpg", "deep/b.jpg"]
    assert [(each["name"], each["rows"]) for each in images[0]["maps"]] == [("raw", 4), ("decomposed@fine2", 8)]


def test_methods_of_the_same_field_share_one_fit(tiny, photo, tmp_path, monkeypatch):
    photo("cat.jpg")
    fits = []

    def counted(*arguments):
        fits.append(decompose_image(*arguments))
        return fits[-1]

    monkeypatch.setattr("dvt.methods.decomposed.decompose_image", counted)
    nodes = "closed_form.nodes_per_patch=2"
    shown = tiny("show", "image=cat.jpg", "method=[decomposed,decomposed@fine2]", nodes, "out=cat.html")
    assert shown.code == 0 and len(fits) == 1, shown.err
    assert [each["rows"] for each in data(tmp_path / "cat.html")[0]["maps"]] == [4, 8]


def test_without_stage_1_there_are_no_terms(tiny, photo, tmp_path):
    photo("cat.jpg")
    assert tiny("show", "image=cat.jpg", "method=[raw]", "out=cat.html").code == 0
    assert data(tmp_path / "cat.html")[0]["terms"] == []


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["image=clip.gif", "out=x.html"], "image=clip.gif is a video: give out= a name that ends in .mp4 or .gif"),
        (["image=cat.jpg", "out=folder.html"], "out=folder.html is a folder"),
        (["image=cat.jpg", "out=cat.jpg/x.html"], "cannot be written"),
        (["image=cat.jpg", "out=x.html", "method=[]"], "give at least one method"),
        (["image=nothing.jpg", "out=x.html"], "nothing.jpg does not exist"),
        (["image=broken.jpg", "out=x.html", "backbone.weights=none.pth"], "broken.jpg"),
        (["image=cat.jpg", "out=x.html", "patch=[9,9]"], "patch=[0,0] to patch=[3,3]"),
        (["image=photos", "out=x.html", "fine=96"], "a page holds 3 MB per image"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(tiny, photo, tmp_path, monkeypatch, options, part):
    photo("cat.jpg"), photo("photos/a.jpg"), (tmp_path / "folder.html").mkdir()
    (tmp_path / "broken.jpg").write_text("no image")
    frames = [Image.fromarray(np.full((30, 40, 3), value, np.uint8)) for value in (0, 90)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:])
    monkeypatch.setattr("dvt.decomposition.run.decompose_image", None)  # the work is not begun
    monkeypatch.setattr("dvt.methods.decomposed.decompose_image", None)
    result = tiny("show", *options)
    assert result.code == 2 and part in result.err, result.err
    assert not (tmp_path / "x.html").exists()


def test_features_that_are_not_finite(tiny, photo, tmp_path, monkeypatch):
    photo("cat.jpg")
    broken = torch.full((4, 4, 8), torch.nan)
    monkeypatch.setattr("dvt.methods.explored.maps_of", lambda methods, *_: {methods[0].name: broken})
    result = tiny("show", "image=cat.jpg", "method=[raw]", "out=cat.html")
    assert result.code == 2 and "raw of cat.jpg has values that are NaN or infinite" in result.err
    assert not (tmp_path / "cat.html").exists()
