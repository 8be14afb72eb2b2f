"""The explorer as a file: nothing is fetched, names cannot break it, the same data give the same bytes."""

import json
import re

import pytest
import torch
from planted_image import planted_image

import dvt
from dvt.backbone.features import Features
from dvt.errors import DvtError
from dvt.grid import PatchGrid
from dvt.viz.explorer import explorer_page, image_data, write_explorer
from dvt.viz.explorer.notebook import MAX_BYTES

EVIL = "</script><script>alert(1)</script>\"'&<!--.jpg"


def scripts(page):
    """The JSON of a page, by id."""
    found = re.findall(r'<script type="application/json" id="([\w-]+)">(.*?)</script>', page, re.DOTALL)
    return {name: json.loads(text) for name, text in found}


def test_the_page_holds_its_data_and_fetches_nothing(tmp_path):
    data = [image_data(planted_image()), image_data(planted_image("dog.jpg", seed=1))]
    for _ in range(2):
        write_explorer(tmp_path / "page.html", data, title="two", about="a ViT", patch_xy=(0.25, 0.75))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page == explorer_page(data, title="two", about="a ViT", patch_xy=(0.25, 0.75))
    found = scripts(page)
    assert found["image-0"] == data[0] and found["image-1"] == data[1]
    assert found["settings"]["images"] == ["cat.jpg", "dog.jpg"] and found["settings"]["patch"] == [0.25, 0.75]
    assert "http:" not in page and "https:" not in page and "@import" not in page
    assert all(each.startswith("data:") for each in re.findall(r'(?:src|href)="([^"]*)"', page))


def test_names_are_escaped():
    page = explorer_page([image_data(planted_image(EVIL))], title=EVIL, about=EVIL)
    assert "alert(1)</script>" not in page and "<!--" not in page
    assert scripts(page)["image-0"]["name"] == EVIL
    assert page.count("&lt;/script&gt;") == 3 * 2  # each name has two; in title, heading and the line below


def test_no_images():
    with pytest.raises(DvtError, match="nothing to explore"):
        explorer_page([], title="none")


def test_images_that_cannot_be_matched_do_not_share_a_page():
    whole = planted_image()
    data = [image_data(each) for each in (whole, planted_image("b.jpg", channels=95), planted_image("c.jpg", terms={}))]
    with pytest.raises(DvtError, match=r"cat\.jpg has raw, .* in 96 channels, and b\.jpg has raw, .* in 95 channels"):
        explorer_page(data[:2], title="two")
    with pytest.raises(DvtError, match=r"and c\.jpg has raw, clean, clean@fine in 96"):
        explorer_page(data[::2], title="two")


def test_a_decomposition_shows_itself(noise_image):
    backbone = dvt.load_backbone("vit_micro", image_size=64, device="cpu")
    result = dvt.decompose(noise_image, backbone, quality="tiny", fine=2)
    html = result._repr_html_()
    assert html.startswith("<iframe") and len(html) < MAX_BYTES
    for part in ("clean, 8 x 8", "artifact", "residual", "4 x 4 patches of 16 px"):
        assert part in html


@pytest.fixture
def noise_image():
    return torch.rand(3, 64, 64)


def test_features_show_themselves():
    grid = PatchGrid.of((64, 96), patch=16)
    features = Features(patches=torch.rand(6, 4, 6, 32), prefix=torch.rand(6, 1, 32), grid=grid)
    html = features._repr_html_()
    assert "6 images, the first 4 shown" in html and html.count("dvt explorer") == 4 and len(html) < MAX_BYTES
    broken = Features(patches=features.patches * torch.nan, prefix=features.prefix, grid=grid)
    assert broken._repr_html_() is None  # the notebook shows the text


def test_fine_features_are_left_out_of_a_notebook_where_they_do_not_fit():
    from dvt.viz.explorer.notebook import decomposition_html

    grid = PatchGrid.of((592, 592), patch=16)
    map_of = torch.rand(37, 37, 24)
    html = decomposition_html(map_of, map_of, map_of * 0, map_of * 0, torch.rand(37 * 6, 37 * 6, 24), grid)
    assert "222 x 222" not in html and len(html) < MAX_BYTES
