"""The data of the explorer: what is stored gives the cosines, norms and colours of the features back."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from planted_image import cosines, planted_image

from dvt.errors import DvtError
from dvt.grid import PatchGrid
from dvt.viz import PCABasis, norm_map
from dvt.viz.explorer import ExplorerImage, image_data
from dvt.viz.explorer.data import DIMENSIONS, MAX_IMAGE_BYTES, TOLERANCE, image_budget, require_room


def array(text, dtype, *shape):
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype).copy()).reshape(*shape)


def directions(data, number):
    """(H, W, K) directions of a map, computed from the JSON as its layout says."""
    stored = data["maps"][number]
    offset, step = array(data["offset"], "<f4", -1).double(), array(data["step"], "<f4", -1).double()
    features = offset + step * array(stored["features"], "i1", stored["rows"], stored["columns"], len(offset)).double()
    return torch.nn.functional.normalize(features, dim=-1)


def test_cosines_come_back():
    image = planted_image()
    data = json.loads(json.dumps(image_data(image)))
    worst = 0.0
    for number, features in enumerate(image.maps.values()):
        found = directions(data, number)
        worst = max(worst, (cosines(found) - cosines(features)).abs().max().item())
    assert 1e-4 < worst <= TOLERANCE
    assert data["cosine_error"]["max"] == pytest.approx(worst, abs=1e-6)
    assert data["cosine_error"]["mean"] < data["cosine_error"]["max"]


def test_cosines_between_images_come_back_through_the_basis():
    images = planted_image(), planted_image("dog.jpg", seed=1)
    data = [image_data(image) for image in images]
    whole = []
    for one in data:
        size = len(base64.b64decode(one["step"])) // 4
        basis = array(one["basis_step"], "<f4", size, 1).double() * array(one["basis"], "i1", size, one["channels"])
        assert torch.allclose(basis @ basis.T, torch.eye(size).double(), atol=0.05)
        whole.append(directions(one, 1) @ basis)
    exact = cosines(images[0].maps["clean"], images[1].maps["clean"])
    assert (torch.einsum("abc,dec->abde", *whole) - exact).abs().max() < 0.02


def test_norms_colours_and_sizes_are_those_of_python():
    image = planted_image()
    data, basis = image_data(image), PCABasis.fit(list(image.maps.values()))
    for stored, (name, features) in zip(data["maps"], image.maps.items(), strict=True):
        rows, columns = stored["rows"], stored["columns"]
        assert (stored["name"], rows, columns) == (name, *features.shape[:2])
        assert torch.equal(array(stored["norms"], "<f4", rows, columns), norm_map(features))
        colours = array(stored["colours"], "u1", rows, columns, 3)
        assert torch.equal(colours, (basis.colours(features) * 255).round().to(torch.uint8))
    assert data["norm_range"][1] == pytest.approx(max(norm_map(each).max().item() for each in image.maps.values()))
    assert data["term_range"][1] == pytest.approx(max(norm_map(each).max().item() for each in image.terms.values()))
    artifact = image.terms["artifact"]
    grey = basis.deviation_colours(artifact, artifact.mean(dim=(0, 1)))
    stored = data["terms"][0]
    assert stored["name"] == "artifact"
    assert torch.equal(array(stored["colours"], "u1", 6, 8, 3), (grey * 255).round().to(torch.uint8))
    with Image.open(io.BytesIO(base64.b64decode(data["photo"].partition("base64,")[2]))) as photo:
        assert photo.size == (data["width"], data["height"]) == (80, 60)


def test_the_same_image_gives_the_same_bytes():
    first, second = (json.dumps(image_data(planted_image())) for _ in range(2))
    assert first == second


def test_more_dimensions_where_64_are_not_enough():
    noise = torch.randn(12, 12, 256, generator=torch.Generator().manual_seed(0))
    data = image_data(ExplorerImage(name="noise", maps={"raw": noise}))
    assert len(base64.b64decode(data["step"])) // 4 > DIMENSIONS and data["cosine_error"]["max"] <= TOLERANCE
    few = image_data(planted_image())
    assert len(base64.b64decode(few["step"])) // 4 == DIMENSIONS


@pytest.mark.parametrize("max_bytes", [40_000, 80_000, 200_000])
def test_the_budget_is_kept_and_the_error_is_said(max_bytes):
    noise = torch.randn(24, 24, 256, generator=torch.Generator().manual_seed(0))
    data = image_data(ExplorerImage(name="noise", maps={"raw": noise}), max_bytes)
    size = len(base64.b64decode(data["step"])) // 4
    assert len(json.dumps(data)) <= max_bytes and 16 <= size < 256
    found = directions(data, 0)
    assert data["cosine_error"]["max"] <= (cosines(found) - cosines(noise)).abs().max() + 1e-9
    assert data["cosine_error"]["max"] > TOLERANCE


def test_a_large_field_fits_into_three_megabytes():
    maps = {name: torch.randn(74, 74, 80, generator=torch.Generator().manual_seed(0)) for name in "abcd"}
    data = image_data(ExplorerImage(name="large", maps=maps, photo=torch.rand(3, 518, 518)))
    assert len(json.dumps(data)) <= image_budget(1) < MAX_IMAGE_BYTES
    assert len(base64.b64decode(data["step"])) // 4 >= DIMENSIONS


def test_the_frame_leaves_the_margin_of_overlapping_patches():
    grid = PatchGrid.of((64, 96), patch=16, stride=8)
    features = torch.rand(*grid.hw, 8)
    frame = image_data(ExplorerImage(name="a", maps={"raw": features}, grid=grid))["frame"]
    assert frame == pytest.approx([4 / 96, 4 / 64, 88 / 96, 56 / 64])
    assert image_data(ExplorerImage(name="a", maps={"raw": features}))["frame"] == [0, 0, 1, 1]


def test_without_a_photograph_and_with_vectors_of_zeros():
    features = torch.rand(4, 6, 8)
    features[1, 2] = 0
    data = image_data(ExplorerImage(name="a", maps={"raw": features}))
    assert data["photo"] is None and (data["width"], data["height"]) == (6, 4)
    assert array(data["maps"][0]["norms"], "<f4", 4, 6)[1, 2] == 0
    assert data["cosine_error"]["max"] <= TOLERANCE


def test_what_cannot_be_explored():
    with pytest.raises(DvtError, match=r"cat\.jpg: no features were given"):
        image_data(planted_image(maps={}))
    broken = torch.rand(4, 4, 8)
    broken[1, 2, 3] = torch.nan
    with pytest.raises(DvtError, match=r"raw of cat\.jpg has values that are NaN or infinite .*row 1, column 2"):
        image_data(planted_image(maps={"raw": broken}))
    with pytest.raises(DvtError, match="must come from the same features"):
        image_data(planted_image(maps={"raw": torch.rand(4, 4, 8), "other": torch.rand(4, 4, 9)}, terms={}))
    with pytest.raises(DvtError, match="do not fit into"):
        image_data(planted_image(), max_bytes=10_000)


def test_too_much_is_refused_with_its_size():
    require_room(1, 4 * 74 * 74)
    require_room(20, 2 * 37 * 37)
    with pytest.raises(DvtError, match=r"100 images with 21904 features each need 109 MB.*Give at most 43 images"):
        require_room(100, 4 * 74 * 74)
    with pytest.raises(DvtError, match=r"175232 features per image need .* MB, and a page holds 3 MB per image"):
        require_room(1, 8 * 148 * 148)
