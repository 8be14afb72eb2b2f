"""The routes of `dvt view`, with vit_micro: what comes back, what is refused, and what nobody may see."""

import json
import time

import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from dvt.backbone.config import BackboneConfig
from dvt.cli.view import Options, Shelf, _with_trained_methods
from dvt.images import find_images
from dvt.images.read import read_encoded
from dvt.view import app as module
from dvt.view.features import FeatureWork
from dvt.view.jobs import Jobs
from dvt.views.config import ViewsConfig

OWN = "http://127.0.0.1:8484"


@pytest.fixture(scope="module")
def shelf():
    options = Options(
        backbone=BackboneConfig(name="vit_micro", image_size=64),
        denoiser="vit_micro/denoiser",
        device="cpu",
        views=ViewsConfig(num_views=4),
    )
    return Shelf(_with_trained_methods(options))


@pytest.fixture(scope="module")
def make_client(shelf, folder):
    """make_client(host) -> a client of the app that is bound to the host."""
    jobs = Jobs(FeatureWork(shelf.load, shelf.loaded))
    images = find_images(folder / "photos")

    def make(host="127.0.0.1"):
        return TestClient(module.make_app(jobs, shelf.offers, images, host=host), base_url=OWN)

    yield make
    jobs.close()


@pytest.fixture
def client(make_client):
    return make_client()


def sent(client, content, name="cat.png", **chosen):
    """The answer to an image that the page sends."""
    return client.post("/api/jobs", params={"name": name, **chosen}, content=content)


def ended(client, answer):
    """The status at the end of a job, and the data of its explorer."""
    assert answer.status_code == 200, answer.text
    status, end_s = answer.json(), time.monotonic() + 120
    while status["state"] in ("waiting", "running"):
        assert time.monotonic() < end_s, status
        time.sleep(0.02)
        status = client.get(f"/api/jobs/{status['id']}").json()
    result = client.get(f"/api/jobs/{status['id']}/result")
    return status, result.json() if status["version"] else None


def names(data):
    return [each["name"] for each in data["maps"]]


def refused(answer, status, *parts):
    assert answer.status_code == status, answer.text
    text = answer.json()["error"]
    assert all(part in text for part in parts), text
    return text


def test_the_page_and_its_files(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html") and "{" not in page.text.split("<script")[0]
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    for name, kind in (("explorer.js", "javascript"), ("explorer.css", "css"), ("view.js", "javascript")):
        answer = client.get(f"/{name}")
        assert answer.status_code == 200 and kind in answer.headers["content-type"] and len(answer.text) > 1000
    for name in ("docs", "redoc", "openapi.json"):
        refused(client.get(f"/{name}"), 404, "nothing at this address")


def test_an_image_gives_raw_and_denoised_then_stage_1(client, encoded):
    status, data = ended(client, sent(client, encoded()))
    assert (
        status["state"] == "done" and status["version"] == 2 and status["methods"] == ["raw", "denoised", "decomposed"]
    )
    assert names(data) == ["raw", "denoised", "decomposed"] and data["name"] == "cat.png"
    assert [each["name"] for each in data["terms"]] == ["artifact", "residual"]
    assert (data["width"], data["height"]) == (90, 70) and data["maps"][0]["rows"] == 4


def test_layer_size_and_methods_are_those_chosen(client, encoded):
    status, data = ended(client, sent(client, encoded(), layer="2", size="224x224", methods="raw,srt"))
    assert names(data) == ["raw", "srt"] and data["maps"][0]["rows"] == 14
    assert (status["layer"], status["size"]) == ("2", "224x224")
    again = client.post(f"/api/jobs/{status['id']}/again", params={"methods": "raw"})
    assert names(ended(client, again)[1]) == ["raw"]


def test_another_vit(client, encoded, shelf):
    status, data = ended(client, sent(client, encoded(), backbone="vit_micro", methods="raw"))
    assert status["backbone"] == "vit_micro" and names(data) == ["raw"]
    assert list(shelf.offers) == ["vit_micro"]


@pytest.mark.parametrize(
    ("chosen", "part"),
    [
        ({"backbone": "vit_none"}, "backbone=vit_none is not offered here: there is vit_micro."),
        ({"layer": "6"}, "layer=6: vit_micro is offered at 5, 4"),
        ({"layer": "../5"}, "layer=../5"),
        ({"size": "100x100"}, "size=100x100: vit_micro is offered at 64x64"),
        ({"size": "99999999x99999999"}, "is offered at"),
        ({"methods": "raw,magic"}, "vit_micro has no magic at layer 5"),
        ({"methods": "denoised", "layer": "3"}, "vit_micro has no denoised at layer 3"),
    ],
)
def test_what_is_not_offered(client, encoded, chosen, part):
    refused(sent(client, encoded(), **chosen), 422, part)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "cat.png is empty"),
        (b"hello, I am a text", "cat.png is not an image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "cat.png is not an image"),
        (b"GIF89a" + bytes(20), "cat.png"),
        (b"%PDF-1.4 ...", "cat.png is not an image"),
    ],
)
def test_what_is_no_image_is_refused_at_once_and_the_app_goes_on(client, encoded, content, part):
    refused(sent(client, content), 422, part)
    assert ended(client, sent(client, encoded(), methods="raw"))[0]["state"] == "done"


def test_a_truncated_image_fails_and_the_app_goes_on(client, encoded):
    noise = Image.effect_noise((200, 200), 90).convert("RGB")
    status, data = ended(client, sent(client, encoded(noise, "JPEG")[:5000]))
    assert status["state"] == "failed" and "cat.png is damaged or truncated" in status["error"] and data is None
    assert ended(client, sent(client, encoded(), methods="raw"))[0]["state"] == "done"


def test_a_huge_image_is_refused_before_it_is_decoded(client, encoded):
    huge = encoded(Image.new("1", (20_000, 20_000)))
    text = refused(sent(client, huge, "huge.png"), 422, "20000 x 20000 = 400000000 pixels", "more than the 100000000")
    assert "max_pixels" in text


def test_a_file_of_too_many_bytes(client, encoded, monkeypatch):
    monkeypatch.setattr(module, "MAX_UPLOAD_BYTES", 1000)
    refused(sent(client, bytes(2000)), 413, "the most that is taken")


def test_one_pixel(client, encoded):
    """Raw and denoised can be shown; stage 1 has nothing to crop."""
    status, data = ended(client, sent(client, encoded(Image.new("RGB", (1, 1)))))
    assert status["state"] == "failed" and "smaller than one patch" in status["error"]
    assert names(data) == ["raw", "denoised"]


def test_cmyk_animated_and_rotated(client, encoded):
    quick = {"methods": "raw"}
    cmyk = encoded(Image.new("CMYK", (60, 40), (0, 255, 255, 0)), "JPEG")
    assert ended(client, sent(client, cmyk, **quick))[1]["width"] == 60
    frames = [Image.new("RGB", (60, 40), colour) for colour in ("red", "blue")]
    film = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert ended(client, sent(client, film, **quick))[1]["width"] == 60
    first = read_encoded(film, "film.gif")
    assert torch.equal(first, torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 40, 60))
    exif = Image.Exif()
    exif[274] = 6
    turned = ended(client, sent(client, encoded(Image.new("RGB", (60, 40)), "JPEG", exif=exif), **quick))[1]
    assert (turned["width"], turned["height"]) == (40, 60)


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\photos\\cat.png", "a\nb\x00.png", "x" * 5000, "</script>"])
def test_any_name_is_only_a_name(client, encoded, name):
    shown = sent(client, encoded(), name, methods="raw").json()["name"]
    assert 0 < len(shown) <= 120 and shown.isprintable() and "/" not in shown.replace("</", "") and "\\" not in shown


def test_images_of_this_machine_have_numbers(client, folder):
    assert client.get("/api/images/0").headers["content-type"] == "image/jpeg"
    status, data = ended(client, client.post("/api/images/1", params={"methods": "raw"}))
    assert status["name"] == data["name"] == "deep/a.png"
    for number in ("2", "-1"):
        refused(client.get(f"/api/images/{number}"), 404, f"no image {number}; there are 2")
    refused(client.post("/api/images/b.png"), 422, "number")
    page = client.get("/").text
    assert "deep/a.png" in page and str(folder) not in page


def test_an_image_that_has_vanished_is_named_without_its_folder(client, folder, tmp_path):
    path = folder / "photos" / "b.png"
    path.rename(tmp_path / "b.png")
    try:
        status, _ = ended(client, client.post("/api/images/0"))
    finally:
        (tmp_path / "b.png").rename(path)
    assert status["error"].startswith("b.png does not exist") and str(folder) not in json.dumps(status)


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/explorer.js/../../secret.txt",
        "/api/images/../secret.txt",
        "/api/images/..%2f..%2fsecret.txt",
        "/api/images/0/../../secret.txt",
        "/api/jobs/..%2f..%2fsecret.txt",
        "//etc/passwd",
        "/etc/passwd",
        "/file:///etc/passwd",
        "/photos/b.png",
    ],
)
def test_no_path_leads_to_a_file(client, path):
    answer = client.get(path)
    assert answer.status_code in (404, 422) and "secret" not in answer.text.replace("secret.txt", "")
    assert "root:" not in answer.text


def test_an_unknown_job(client):
    for answer in (client.get("/api/jobs/none"), client.delete("/api/jobs/none"), client.get("/api/jobs/none/result")):
        refused(answer, 404, "no longer kept")


@pytest.mark.parametrize(
    ("bound", "host", "allowed"),
    [
        ("127.0.0.1", "127.0.0.1:8484", True),
        ("127.0.0.1", "localhost:9000", True),
        ("127.0.0.1", "[::1]:8484", True),
        ("127.0.0.1", "evil.example:8484", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "localhost.evil.example:8484", False),
        ("127.0.0.1", "192.168.0.7:8484", False),
        ("127.0.0.1", "", False),
        ("0.0.0.0", "192.168.0.7:8484", True),
        ("0.0.0.0", "evil.example:8484", False),
        ("lab.example", "lab.example:8484", True),
    ],
)
def test_names_of_other_sites_are_refused(make_client, bound, host, allowed):
    answer = make_client(bound).get("/", headers={"host": host})
    assert answer.status_code == (200 if allowed else 403)
    assert allowed or ("its own machine" in answer.text and "dvt view</h1>" not in answer.text)


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"origin": OWN, "sec-fetch-site": "same-origin"}, True),
        ({}, True),  # no browser
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://127.0.0.1:9999"}, False),  # another server of this machine
        ({"origin": "null"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
    ],
)
def test_pages_of_other_sites_cannot_change_anything(client, headers, allowed):
    for answer in (client.post("/api/images/0", headers=headers), client.delete("/api/jobs/none", headers=headers)):
        assert (answer.status_code == 403) != allowed, answer.text
        assert "access-control-allow-origin" not in answer.headers
