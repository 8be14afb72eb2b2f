"""`dvt distill` as people call it."""

import importlib
import shutil
from dataclasses import fields, is_dataclass

import pytest
import torch
from noise import write_noise
from PIL import Image
from safetensors.torch import save_file

from dvt.backbone.config import BackboneConfig
from dvt.backbone.load import load_backbone
from dvt.cli.distill import Options
from dvt.cli.help import attribute_docs
from dvt.cli.main import run
from dvt.cli.method_options import MethodsOptions, load_methods
from dvt.denoiser.config import DenoiserConfig
from dvt.denoiser.network import Denoiser
from dvt.store import FeatureStore
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
    code = last.partition("use it: ")[2]
    model, _ = eval(code, {"dvt": importlib.import_module("dvt")})  # its weights are in the folder: no network
    assert model.grid.hw == (4, 4)
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
        (("student.layer=all",), "did you mean student.layers or"),
        (("dataset.val_share=2",), "dataset.val_share=2.0"),
        (("resume=nowhere.ckpt",), "there is no checkpoint nowhere.ckpt"),
    ],
)
def test_slips_are_named(dvt, place, options, text):
    result = dvt("distill", *ALL, *options)
    assert result.code == 2 and text in result.err, result.err


def test_from_a_store_to_a_plain_vit(dvt, made, tmp_path):
    """The store names the ViT; here its weights are untrained and have to be named."""
    made("photos", "store")
    result = dvt("distill", "store=store", "images=photos", "out=run", "backbone.weights=random", *FEW)
    assert result.code == 0, result.err
    assert result.err.startswith("5 images -> run   vit_micro_patch16_224") and "features of store" in result.err
    assert "load_denoised('vit_micro_patch16_224.dvt', weights='run')" in result.err.splitlines()[-1]
    _, info = read_model_folder(tmp_path / "run", kind="distilled")
    assert info.spec == FeatureStore.open("store").meta.spec and info.training["stage1"][0]["quality"] == "tiny"
    again = dvt(
        "distill", "teacher=store", "store=[store]", "images=photos", "out=run", "backbone.weights=random", *FEW
    )
    assert again.code == 0 and "continuing at step 2" in again.err
    more = ("backbone.weights=random", "dataset.missing=skip", *FEW)
    write_noise(tmp_path / "photos" / "new.png", (70, 90), 9)
    assert "1 without features left out" in dvt("distill", "store=store", "images=photos", "out=two", *more).err


def test_mixed_images_and_class_labels(dvt, made, tmp_path):
    made("photos", "store")
    save_file({"weight": torch.randn(3, 192), "bias": torch.zeros(3)}, tmp_path / "classes.safetensors")
    labels = ("labels.weight=0.1", "labels.classifier=classes.safetensors", "labels.top=2")
    common = ("store=store", "images=photos", "out=run", "backbone.weights=random", *FEW)
    result = dvt("distill", *common, "mixing.kind=unmix", *labels)
    assert result.code == 0, result.err
    training = read_model_folder(tmp_path / "run", kind="distilled")[1].training
    assert training["mixing"]["kind"] == "unmix" and training["labels"]["top"] == 2
    for options, text in (
        (("mixing.kind=cutmix",), "mixtoken"),
        (("mixing.probability=0.5",), "is for mixing.kind=mixtoken or unmix"),
        (("labels.weight=0.1", "labels.classifier=own"), "with weights=random: give a file"),
        (("labels.weight=0.1", "labels.classifier=nothing.pth"), "nothing.pth does not exist"),
    ):
        refused = dvt("distill", *common, *options)
        assert refused.code == 2 and text in refused.err, refused.err


def test_a_vit_with_a_linear_layer_on_all_blocks_is_shown_and_exported(dvt, made, tmp_path):
    made("photos", "store")
    common = ("store=store", "images=photos", "out=run", "backbone.weights=random", *FEW)
    result = dvt("distill", *common, "student.layers=all")
    assert result.code == 0 and "a linear layer on 6 block(s), ridge from 1152 inputs, 32 MB" in result.err, result.err
    _, info = read_model_folder(tmp_path / "run", kind="denoised")
    assert info.architecture["layers"] == [0, 1, 2, 3, 4]
    fewer = dvt("distill", *common, "student.layers=[1]")
    assert fewer.code == 2 and "student.layers: [0, 1, 2, 3, 4] in the checkpoint, [1] in the request" in fewer.err
    vit = ("backbone=vit_micro", "backbone.weights=random")
    shown = dvt("show", "image=photos/1.png", "method=[raw,distilled]", "distilled=run", *vit, "out=shown.png")
    assert shown.code == 0 and (tmp_path / "shown.png").is_file(), shown.err
    options = MethodsOptions(method=["raw", "denoised"], denoiser="run", device="cpu")
    options.backbone = BackboneConfig(timm="vit_micro_patch16_224.dvt")
    raw, _ = load_methods(options, one_size=True)
    assert raw.weights_hash == load_backbone("vit_micro", device="cpu").weights_hash, "not the trained one"
    again = dvt("distill", "backbone=vit_micro", "denoiser=run", "images=photos", "out=again", *FEW)
    assert again.code == 2 and "denoiser=run is a distilled ViT already" in again.err
    exported = dvt("export", "backbone=vit_micro", "denoiser=run", "out=model.pt2")
    assert exported.code == 0 and (tmp_path / "model.pt2").is_file(), exported.err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("denoiser=den",), "store=store and denoiser=den are two teachers: leave one of them out"),
        (("denoiser=den", "teacher=store"), "teacher=store and denoiser=den are two teachers"),
        (("teacher=srt",), "teacher=srt and store=store are two teachers: leave one of them out"),
        (("srt.max_shift=2",), "srt.* have an effect with teacher=srt only, not with store=store"),
        (("store=null",), "dvt distill needs something to learn from: store=... (what dvt decompose wrote)"),
        (("store=null", "teacher=store"), "teacher=store needs store=..."),
        (("store=[]",), "store=[] names no store"),
        (("store=nowhere",), "nowhere"),
        (("backbone.layer=3",), "layer: 5 in the store, 3 in the request"),
        (("backbone=dinov2_base",), "backbone: 'vit_micro_patch16_224.dvt' in the store, 'vit_base"),
        (("backbone.image_size=128",), "128 x 128 px, 8 x 8 patches of 16 px every 16 px, needs F"),
        (("images=photos/new.png",), "1 of 1 images have no features in store"),
        (("dataset.crop_area_min=0",), "dataset.crop_area_min=0.0: give 0 < crop_area_min <= 1"),
    ],
)
def test_slips_with_a_store_are_named(dvt, made, tmp_path, options, text):
    made("photos", "store")
    write_noise(tmp_path / "photos" / "new.png", (70, 90), 9)
    result = dvt("distill", "store=store", "images=photos", "out=run", "backbone.weights=random", *FEW, *options)
    assert result.code == 2 and text in result.err, result.err
    assert not (tmp_path / "run").exists()


def test_a_distilled_vit_is_no_denoiser(dvt, place, distilled):
    shutil.copytree(distilled, place / "run")
    result = dvt("distill", *ALL, "denoiser=run", "out=again", "backbone.weights=null")
    assert result.code == 2 and "denoiser=run is a distilled ViT already" in result.err


def test_an_image_that_cannot_be_opened_is_left_out_and_listed(dvt, place):
    (place / "photos" / "3.png").write_bytes(b"")
    result = dvt("distill", *ALL, "num_steps=4")
    assert result.code == 3 and result.err.count("failed: 3.png: photos/3.png is empty (0 bytes)") == 1
    assert "written: run" in result.err


def test_an_image_that_is_damaged_behind_its_header_stops_the_training(dvt, place):
    """It is met in the step that needs it; the same command continues once it is repaired."""
    path = place / "photos" / "3.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    result = dvt("distill", *ALL, "num_steps=4")
    assert result.code == 2 and "3.png is damaged or truncated" in result.err
    path.write_bytes(whole)
    assert dvt("distill", *ALL, "num_steps=4").code == 0


def test_what_is_needed(dvt):
    assert "dvt distill needs images=... out=..." in dvt("distill").err


def test_help_says_everything(dvt):
    page = dvt("distill", "--help").out
    for text in (
        "images=(required)",
        "store=null",
        "denoiser=null",
        "teacher=null",
        "dataset.crop_area_min=1",
        "srt.* ",
        "backbone.* ",
        "num_steps=12510",
        "student.* ",
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


def test_a_student_that_drops_patches_is_shown_with_what_it_keeps(dvt, made, tmp_path):
    """A row more than that of the plain student, and no row of raw in it."""
    made("photos", "store")
    heights = {}
    for keep in ("1", "0.7"):
        out = f"run{keep}"
        options = (
            "store=store",
            "images=photos",
            f"out={out}",
            f"student.keep={keep}",
            "backbone.weights=random",
            *FEW,
        )
        result = dvt("distill", *options)
        assert result.code == 0 and ("keeps 0.7 of the patches after 1, 3, 4 blocks" in result.err + result.out) == (
            keep != "1"
        )
        shown = dvt(
            "show",
            "image=photos/0.png",
            "method=[raw,distilled]",
            f"distilled={out}",
            *VIT,
            "device=cpu",
            f"out={out}.png",
        )
        assert shown.code == 0
        with Image.open(tmp_path / f"{out}.png") as panel:
            heights[keep] = panel.height
    assert heights["0.7"] - heights["1"] > 200
