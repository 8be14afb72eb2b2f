"""`dvt doctor` prints a table, words and commands, and draws an image."""

import html
import json
import shutil

import pytest
import torch
from noise import write_noise
from PIL import Image

TINY = ("backbone.timm=vit_micro_patch16_224", "backbone.weights=random", "backbone.image_size=64", "device=cpu")
FEW = ("num_images=16", "layers=[3,5]")
WITHOUT = "ways=false"


@pytest.fixture(scope="session")
def seventeen_images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doctor")
    for number in range(17):
        write_noise(folder / f"{number}.png", (70, 90), number)
    return folder


@pytest.fixture
def photos(seventeen_images, tmp_path):
    shutil.copytree(seventeen_images, tmp_path / "photos")


def test_table_words_and_image(dvt, photos, tmp_path):
    result = dvt("doctor", "images=photos", *TINY, *FEW)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert [line.split("  ")[0].strip() for line in lines[:4]] == ["layer", "block 3", "block 5", "block 5 + norm"]
    assert "Layout: in block 5 + norm position explains" in result.out
    assert "Without training, measured on images that were not used (dvt calibrate):" in result.out
    assert any(line.split()[:1] == ["projected"] for line in lines)
    commands = [line for line in lines if line.startswith("    dvt ")]
    assert commands and any("backbone.timm=vit_micro_patch16_224 backbone.weights=random" in line for line in commands)
    assert "16 of 17 images" in result.err and "doctor.png written" in result.err
    with Image.open(tmp_path / "doctor.png") as image:
        assert min(image.size) > 600


def test_the_page_shows_the_layers_of_some_images(dvt, photos, tmp_path):
    result = dvt("doctor", "images=photos", *TINY, *FEW, WITHOUT, "report=html", "out=new/a.png")
    assert result.code == 0, result.err
    assert "new/a.png and new/a.html written" in result.err
    page = (tmp_path / "new/a.html").read_text(encoding="utf-8")
    assert page.count("<iframe") == 1 and page.count("data:image/png") == 1 and "http" not in page.split("<iframe")[0]
    inside = html.unescape(page.split('srcdoc="')[1].split('"></iframe>')[0])
    images = [json.loads(inside.split(f'id="image-{number}">')[1].split("</script>")[0]) for number in range(3)]
    assert 'id="image-3"' not in inside
    for image in images:
        assert [(each["name"], each["rows"], each["columns"]) for each in image["maps"]] == [
            ("block 5 + norm", 4, 4), ("block 5", 4, 4), ("block 3", 4, 4),
        ]  # fmt: skip
        assert (image["width"], image["height"]) == (90, 70)
    assert all(line in html.unescape(page) for line in result.out.splitlines())


def test_json(dvt, photos, tmp_path):
    result = dvt("doctor", "images=photos", *TINY, *FEW, "json=true", "out=new folder/a.png", "seed=3")
    assert result.code == 0, result.err
    body = json.loads(result.out)
    assert [layer["name"] for layer in body["layers"]] == ["block 3", "block 5", "block 5 + norm"]
    assert body["environment"]["torch"] and body["diagnosis"]["advice"]
    assert [way["name"] for way in body["diagnosis"]["ways"]] == ["raw", "centred", "projected", "blocks"]
    assert (tmp_path / "new folder/a.png").exists()


def test_the_environment(dvt, tmp_path):
    result = dvt("doctor", "env")
    assert result.code == 0 and result.err == "" and str(tmp_path) not in result.out
    report = dict(line.split(maxsplit=1) for line in result.out.splitlines())
    assert (
        next(iter(report)) == "dvt" and report["torch"].startswith(torch.__version__) and report["cores"][0].isdigit()
    )
    assert {"python", "timm", "lightning", "scipy", "rich", "cuda", "memory", "processor"} <= set(report)
    assert report["tinycudann"].endswith("(optional)")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ([], "dvt doctor needs images=..."),
        (["env", "more"], "dvt doctor env takes nothing more; more was given"),
        (["environment"], "'environment' is not an option"),
        (["images=nowhere"], "nowhere does not exist"),
        (["images=photos/1.png"], "need at least 16 images, better 100"),
        (["images=photos", "num_images=3"], "num_images=3: give at least 16"),
        (["images=photos", "layers=[6]"], "layers=[6]: give blocks from 0 to 5"),
        (["images=photos", "layers=3"], "layers=3: give a list"),
        (["images=photos", "out=a.gif"], "ends in .gif"),
        (["images=photos", "out=photos/2.png"], "out=photos/2.png is one of the images"),
        (["images=photos", "num_image=20"], "did you mean num_images"),
        (["images=photos", "backbone.image_size=16"], "Give a larger image_size"),
    ],
)
def test_wrong_use(dvt, photos, options, part):
    arguments = options if options[:1] == ["env"] or options == ["environment"] else [*TINY, *options]
    result = dvt("doctor", *arguments)
    assert result.code == 2 and part in result.err and result.out == "", result.err


def test_help(dvt):
    page = dvt("doctor", "--help")
    assert page.code == 0 and "images=(required)" in page.out and "dvt doctor env" in page.out
    assert "dvt doctor" in dvt("--help").out
    assert all(len(line) <= 120 for line in page.out.splitlines())
