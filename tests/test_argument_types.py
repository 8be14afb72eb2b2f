"""The wrong kind of object given to a public function: one sentence with its type and the way out."""

import pytest
import timm

import dvt
from dvt.diagnosis.diagnose import diagnose
from dvt.evaluation.run import evaluate

pytestmark = pytest.mark.other_types  # annotations are checked in tests alone; users meet our own errors


@pytest.fixture(scope="module")
def foreign():
    return timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda model, files, out: dvt.decompose(files[0].path, model), "backbone"),
        (lambda model, files, out: dvt.decompose_list(files, model, out, None), "backbone"),
        (lambda model, files, out: diagnose(model, [file.path for file in files]), "backbone"),
        (lambda model, files, out: dvt.export_model(model, out / "m.pt2"), "model"),
        (lambda model, files, out: dvt.train_denoiser([out], out, backbone=model), "backbone"),
        (lambda model, files, out: dvt.distill_from_store([out], files, out, backbone=model), "backbone"),
        (lambda model, files, out: evaluate("retrieval", {"raw": model}, out), r"methods\['raw'\]"),
    ],
)
def test_a_model_of_timm(foreign, call, name, tmp_path):
    files = [dvt.images.ImageFile("a.png", tmp_path / "a.png")]
    pattern = f"^{name} is of type timm.models.vision_transformer.VisionTransformer, not a ViT of dvt: give what"
    with pytest.raises(dvt.DvtError, match=pattern) as caught:
        call(foreign, files, tmp_path)
    assert len(str(caught.value)) < 300 and "dvt.load_backbone(name)" in str(caught.value)


def test_a_teacher_without_a_denoiser(tmp_path):
    backbone = dvt.load_backbone("vit_micro", image_size=32)
    with pytest.raises(
        dvt.DvtError, match=r"^teacher is of type dvt\.backbone\.backbone\.Backbone: give what dvt.load_den"
    ):
        dvt.distill([], tmp_path, teacher=backbone)


@pytest.mark.parametrize(
    "call",
    [
        lambda backbone, out: dvt.train_denoiser([out], out, {"num_steps": 3}),
        lambda backbone, out: dvt.distill_from_store([out], [], out, {"num_steps": 3}, backbone=backbone),
        lambda backbone, out: dvt.decompose_list([], backbone, out, {"fine": 2}),
    ],
)
def test_options_as_a_dict(call, tmp_path):
    backbone = dvt.load_backbone("vit_micro", image_size=32)
    with pytest.raises(dvt.DvtError, match=r"^config is of type dict: give dvt\."):
        call(backbone, tmp_path / "a")


def test_one_store_may_stand_alone(tmp_path):
    with pytest.raises(dvt.DvtError, match=f"{tmp_path}/store"):
        dvt.train_denoiser(str(tmp_path / "store"), tmp_path / "out")
