"""SRT through the verbs: a store filled by it, a denoiser trained on that store, a ViT distilled from it."""

import json
import shutil

import pytest
import torch
from noise import write_noise

from dvt.backbone.load import load_backbone
from dvt.cli.main import run
from dvt.decomposition.run_list import decompose_list
from dvt.images import find_images, read_image
from dvt.srt.backbone import SrtBackbone
from dvt.srt.config import SrtConfig
from dvt.store import FeatureStore
from dvt.weights.folder import read_model_folder

VIT = ("backbone.timm=vit_micro_patch16_224", "backbone.weights=random", "backbone.image_size=64")
FEW_STEPS = (
    "num_steps=2", "batch_size=2", "save_every=2", "validate_every=2", "show_every=0", "log_every=1", "trainer=cpu",
    "logger=none",
)  # fmt: skip
STORE = ("decompose", "images=photos", "store=s", "method=srt", "device=cpu", "srt.max_shift=2", "srt.step=2", *VIT)
DISTILL = ("distill", "teacher=srt", "srt.max_shift=1", "images=photos", "out=run", *VIT, *FEW_STEPS)


@pytest.fixture
def photos(photo, tmp_path):
    for number in range(3):
        photo(f"photos/{number}.png", seed=number)
    return tmp_path / "photos"


@pytest.fixture
def vit():
    return load_backbone("vit_micro_patch16_224", weights="random", image_size=64, device="cpu")


@pytest.fixture(scope="session")
def srt_store(tmp_path_factory):
    """The store that `STORE` makes of these images."""
    folder = tmp_path_factory.mktemp("srt")
    for number in range(3):
        write_noise(folder / "photos" / f"{number}.png", (70, 90), number)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run([*STORE]) == 0
    return folder / "s"


def test_a_store_of_srt_is_filled_and_a_denoiser_learns_from_it(dvt, photos, vit):
    result = dvt(*STORE)
    assert result.code == 0, result.err
    assert "srt, mean over shifts of up to 2 px every 2 px" in result.err and "3 done" in result.err
    store, srt = FeatureStore.open("s"), SrtBackbone(vit, SrtConfig(max_shift=2, step=2))
    for image in find_images(photos):
        view = srt.preprocess(read_image(image.path))[None]
        for name, model in (("clean", srt), ("raw", vit)):
            stored = getattr(store[image.key], name).float()
            torch.testing.assert_close(stored, model(view).patches[0], atol=5e-3, rtol=5e-3)
    trained = dvt("train", "store=s", "out=denoiser", *FEW_STEPS)
    assert trained.code == 0, trained.err
    _, info = read_model_folder(photos.parent / "denoiser", kind="denoiser")
    assert info.training["stage1"][0]["solver"]["srt"]["max_shift"] == 2


def test_the_same_command_skips_what_is_there_and_other_settings_are_refused(dvt, photos, srt_store):
    shutil.copytree(srt_store, "s")
    again = dvt(*STORE, "srt.batch_size=5", "quality=tiny", "seed=3")  # none of these changes a feature of SRT
    assert again.code == 0 and "0 done, 3 there already" in again.err, again.err
    assert "quality=none, solver=srt" in dvt("store", "status", "s").out
    for option, text in {
        "method=decomposed": "solver.solver: 'srt' in the store, 'closed_form' in the request",
        "srt.max_shift=3": "solver.srt.max_shift: 2 in the store, 3 in the request",
        "srt.aggregate=median": "solver.srt.aggregate: 'mean' in the store, 'median' in the request",
        "srt.fill=mean": "solver.srt.fill: 'edge' in the store, 'mean' in the request",
        "backbone.precision=bf16": "solver.precision: 'fp32' in the store, 'bf16' in the request",
    }.items():
        result = dvt(*STORE, option)
        assert result.code == 2 and text in result.err, result.err


def test_a_decomposed_store_is_not_continued_by_srt(tiny, made):
    made("photos", "store")
    result = tiny("decompose", "images=photos", "store=store", "method=srt")
    assert result.code == 2 and "solver.solver: 'closed_form' in the store, 'srt' in the request" in result.err
    assert "quality: 'tiny' in the store, 'none' in the request" in result.err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("arrays=[raw,clean,artifact]",), "arrays=[raw,clean,artifact]: SRT makes no artifact. Give some of raw"),
        (("srt.fine=2",), "srt.fine=2: a store holds raw and clean features of the same patches"),
        (("fine=2",), "fine=2 method=srt: SRT has no field F to store"),
        (("srt.max_shift=16",), "has patches of 16 px. Give 1 to 15"),
        (("srt.step=3",), "srt.step=3 leaves no shift within srt.max_shift=2"),
        (("srt.fill=black",), "srt.fill=black: give one of edge, reflect, mean"),
        (("srt.maxshift=2",), "did you mean srt.max_shift"),
        (("method=raw",), "method=raw: give one of decomposed, srt"),
    ],
)
def test_options_that_do_not_go_together(options, text, dvt, photos):
    result = dvt(*STORE, *options)
    assert result.code == 2 and text in result.err, result.err
    assert not (photos.parent / "s").exists()


def test_images_that_cannot_be_done_are_listed(dvt, photos, photo):
    photo("photos/dot.png", size=(3, 3))
    (photos / "text.jpg").write_text("no image")
    result = dvt(*STORE)
    assert result.code == 3 and "3 done, 0 there already, 2 failed" in result.err
    assert "failed: dot.png: the image is 3 x 3 px, smaller than one patch of 16 px" in result.err


def test_python_makes_the_same_store(dvt, photos, vit):
    progress = decompose_list(find_images(photos), vit, "s", SrtConfig(max_shift=2, step=2))
    assert progress.done == 3 and progress.seconds["solve"] == 0 < progress.seconds["extract"]
    result = dvt(*STORE)
    assert result.code == 0 and "0 done, 3 there already" in result.err
    first, _ = sorted((photos.parent / "s" / "runs").glob("*.json"))
    assert json.loads(first.read_text())["config"]["max_shift"] == 2


def test_a_vit_learns_from_srt_and_the_same_command_continues(dvt, photos, vit):
    result = dvt(*DISTILL)
    assert result.code == 0, result.err
    assert "3 images -> run   vit_micro_patch16_224" in result.err and "+srt" in result.err.splitlines()[0]
    _, info = read_model_folder(photos.parent / "run", kind="distilled")
    assert info.training["teacher_settings"]["srt"]["max_shift"] == 1
    assert info.training["teacher_sha256"] == SrtBackbone(vit, SrtConfig(max_shift=1)).weights_hash
    assert info.metrics["mse"] > 0 and info.spec.weights_hash == vit.weights_hash
    longer = dvt(*DISTILL, "num_steps=3", "allow_changes=true")
    assert longer.code == 0 and "continuing at step 2" in longer.err
    refused = dvt(*DISTILL, "num_steps=3", "srt.fill=mean")
    assert refused.code == 2
    assert "teacher_settings.srt.fill: 'edge' in the checkpoint, 'mean' in the request" in refused.err
    assert dvt(*DISTILL, "num_steps=3", "srt.batch_size=3").code == 0  # it changes the speed and nothing else


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("denoiser=den",), "teacher=srt and denoiser=den are two teachers: leave one of them out"),
        (("teacher=denoiser",), "teacher=denoiser needs denoiser=..."),
        (("teacher=null", "denoiser=den"), "srt.* have an effect with teacher=srt only, not with denoiser=den"),
        (("dataset.crop_area_min=0.5",), "dataset.crop_area_min=0.5 is for teacher=store"),
        (("srt.fine=2",), "the teacher gives 8 x 8 cells of 8 px, and its ViT"),
        (("backbone.precision=bf16",), "load the ViT in fp32"),
        (("teacher=raw",), "teacher=raw: give one of store, denoiser, srt"),
    ],
)
def test_what_cannot_be_a_teacher(options, text, dvt, photos):
    result = dvt(*DISTILL, *options)
    assert result.code == 2 and text in result.err, result.err
    assert not (photos.parent / "run").exists()
