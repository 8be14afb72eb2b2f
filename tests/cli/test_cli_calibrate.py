"""`dvt calibrate` writes a denoiser, and the other verbs take it."""

import json

import pytest
from noise import write_noise

VIT = ("backbone=vit_micro", "backbone.image_size=64", "device=cpu")


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(17):
        write_noise(tmp_path / "photos" / f"{number}.png", (70, 90), number)


def test_a_folder_that_the_other_verbs_take(dvt, photos, tmp_path):
    result = dvt("calibrate", "images=photos", "out=runs/mine", "windows=2", *VIT)
    assert result.code == 0, result.err
    assert "position share, calibrated" in result.out and "runs/mine written" in result.err
    assert {path.name for path in (tmp_path / "runs/mine").iterdir()} >= {"config.json", "weights.safetensors"}
    card = (tmp_path / "runs/mine/README.md").read_text()
    assert "calibration.method" in card and "centred" in card and "photos" not in card.split("## How it was trained")[1]
    for command in (
        ("show", "image=photos/3.png", "method=[raw,denoised]", "denoiser=runs/mine", "out=a.png", *VIT),
        ("export", "denoiser=runs/mine", "out=clean.pt2", *VIT[:2]),
        ("calibrate", "images=photos", "out=runs/mine", "windows=2", "method=blocks", *VIT),  # replaces the folder
    ):
        result = dvt(*command)
        assert result.code == 0, result.err
    written = json.loads((tmp_path / "runs/mine/config.json").read_text())
    assert written["architecture"]["kind"] == "affine" and written["architecture"]["layers"] == [0, 1, 2, 3, 4]


def test_what_would_be_overwritten_or_cannot_work(dvt, photos, tmp_path):
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "photos/broken.png").write_bytes(b"no image")
    for options, said in (
        (("out=run",), "out=run is the folder of a training"),
        (("out=file",), "out=file is a file"),
        (("out=mine", "method=mean"), "method"),
        (("out=mine", "rank=3"), "method=centred removes no directions"),
    ):
        result = dvt("calibrate", "images=photos", *options, *VIT)
        assert result.code == 2 and said in result.err, result.err
    result = dvt("train", "store=store", "out=run", "denoiser.kind=affine")
    assert result.code == 2 and "dvt calibrate images=... out=... computes it" in result.err, result.err
    result = dvt("calibrate", "images=photos", "out=mine", "windows=2", *VIT)
    assert result.code == 3 and "broken.png" in result.err, result.err
    assert (tmp_path / "mine/weights.safetensors").is_file()
