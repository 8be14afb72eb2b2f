"""`dvt distill` as people call it."""

import shutil
from dataclasses import fields, is_dataclass

import pytest

from dvt.backbone.load import load_backbone
from dvt.cli.distill import Options
from dvt.cli.help import attribute_docs
from dvt.cli.main import run
from dvt.denoiser.config import DenoiserConfig
from dvt.denoiser.network import Denoiser
from dvt.weights.folder import read_model_folder, write_model_folder
from dvt.weights.info import ModelInfo

VIT = ("backbone.timm=vit_micro_patch16_224", "backbone.weights=random")
FEW = (
    "num_steps=2", "batch_size=2", "save_every=2", "validate_every=2", "show_every=0", "log_every=1", "trainer=cpu",
    "logger=none",
)  # fmt: skip
ALL = ("denoiser=denoiser", "images=photos", "out=run", *VIT, *FEW)


@pytest.fixture(scope="session")
def denoiser_of_layer_1(tmp_path_factory):
    """A denoiser of layer 1."""
    vit = load_backbone("vit_micro_patch16_224", weights="random", image_size=64, layer=1, device="cpu")
    info = ModelInfo(
        kind="denoiser",
        spec=vit.spec,
        architecture={},
        training={},
        metrics={},
        base_license=None,
        code_version="0",
    )
    folder = tmp_path_factory.mktemp("distill") / "denoiser"
    write_model_folder(folder, Denoiser(DenoiserConfig(), 192, vit.grid.hw).state_dict(), info)
    return folder


@pytest.fixture
def place(made, denoiser_of_layer_1, tmp_path):
    """A working folder with five images and a denoiser of layer 1."""
    made("photos")
    shutil.copytree(denoiser_of_layer_1, tmp_path / "denoiser")
    return tmp_path


@pytest.fixture(scope="session")
def distilled(denoiser_of_layer_1, shared_folder, tmp_path_factory):
    """run/ of a finished distillation; `ALL` made it."""
    folder = tmp_path_factory.mktemp("distilled")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "denoiser").symlink_to(denoiser_of_layer_1)
        (folder / "photos").symlink_to(shared_folder / "photos")
        assert run(["distill", *ALL]) == 0
    return folder / "run"


def test_from_a_denoiser_to_a_plain_vit(dvt, place):
    result = dvt("distill", *ALL)
    assert result.code == 0, result.err
    first, *_, last = result.err.splitlines()
    assert first.startswith("5 images -> run   vit_micro_patch16_224") and first.endswith(
        "4 x 4 patches of 16 px every 16 px, 2 steps of 2"
    )
    assert "before -> after, compared with the teacher" in result.err and "class token" in result.err
    assert last == "written: run   use it: dvt.load_denoised('vit_micro_patch16_224', weights='run')"
    state, info = read_model_folder(place / "run", kind="distilled")
    assert (info.spec.layer, info.spec.grid.image_hw) == (1, (64, 64)) and "blocks.5.norm1.weight" in state


def test_the_same_command_continues(dvt, place, distilled):
    shutil.copytree(distilled, place / "run")
    result = dvt("distill", *ALL, "num_steps=4", "allow_changes=true")
    assert result.code == 0 and "4 steps of 2, continuing at step 2" in result.err
    assert "changed: num_steps: 2 in the checkpoint, 4 in the request" in result.err


def test_the_smoke_trainer_sees_everything_once(dvt, place):
    result = dvt("distill", "denoiser=denoiser", "images=photos", "out=run", *VIT, "trainer=smoke")
    assert result.code == 0, result.err
    assert len(list((place / "run" / "panels").iterdir())) == 2
    assert len(list((place / "run" / "logs").glob("*/metrics.csv"))) == 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("backbone.timm=vit_small_patch16_224",), "denoiser does not belong to this backbone"),
        (("backbone.layer=3",), "denoiser was trained on layer 1 after the final norm"),
        (("backbone.norm=false",), "leave out backbone.layer and backbone.norm"),
        (("backbone.precision=bf16",), "load the ViT in fp32"),
        (("denoiser=nowhere",), "nowhere"),
        (("images=nowhere",), "nowhere does not exist"),
        (("images=denoiser",), "the folder denoiser holds no images"),
        (("images=photos/1.png",), "1 image was given"),
        (("student.trained_blocks=12",), "has 2 blocks up to the layer in use"),
        (("student.class_token_weigth=1",), "did you mean student.class_token_weight"),
        (("dataset.val_share=2",), "dataset.val_share=2.0"),
        (("resume=nowhere.ckpt",), "there is no checkpoint nowhere.ckpt"),
    ],
)
def test_slips_are_named(dvt, place, options, text):
    result = dvt("distill", *ALL, *options)
    assert result.code == 2 and text in result.err, result.err


def test_a_distilled_vit_is_no_denoiser(dvt, place, distilled):
    shutil.copytree(distilled, place / "run")
    result = dvt("distill", *ALL, "denoiser=run", "out=again", "backbone.weights=null")
    assert result.code == 2 and "denoiser=run is a distilled ViT already" in result.err


def test_an_image_that_cannot_be_read(dvt, place):
    (place / "photos" / "3.png").write_bytes(b"")
    result = dvt("distill", *ALL, "num_steps=4")
    assert result.code == 2 and result.err.count("photos/3.png is empty (0 bytes)") == 1


def test_what_is_needed(dvt):
    assert "dvt distill needs images=... out=..." in dvt("distill").err


def test_help_says_everything(dvt):
    page = dvt("distill", "--help").out
    for text in (
        "images=(required)",
        "denoiser=null",
        "teacher=denoiser",
        "srt.max_shift=3",
        "num_steps=12510",
        "student.trained_blocks=0",
        "trainer= auto, cpu, ddp",
    ):
        assert text in page


def test_every_option_says_what_it_is():
    def parts(kind):
        yield kind
        for entry in fields(kind):
            if is_dataclass(value := getattr(kind(), entry.name)):
                yield from parts(type(value))

    for part in parts(Options):
        docs = attribute_docs(part)
        assert all(docs.get(entry.name, "").endswith(".") for entry in fields(part)), part


def test_it_is_public():
    import dvt as package
    from dvt.distillation.distill import distill
    from dvt.training.run import Trained

    assert package.distill is distill and package.Trained is Trained
