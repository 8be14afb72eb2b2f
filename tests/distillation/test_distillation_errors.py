"""What a distillation refuses, before it begins or when it comes to it."""

import shutil
from dataclasses import replace

import pytest

from dvt.distillation.distill import distill, split_images
from dvt.errors import ConfigError, ImageError, TrainingError, WeightsError
from dvt.images import find_images
from dvt.training.checkpoints import claim_folder, find_start
from dvt.training.data import StepBatches
from dvt.weights.checkpoint import checkpoint_path, checkpoint_paths
from dvt.weights.folder import write_model_folder
from dvt.weights.info import CONFIG_FILE, ModelInfo


@pytest.fixture
def begun(tmp_path, images, options, teacher):
    """A finished run of two steps, to be continued with other settings."""
    distill(images, tmp_path / "out", options(num_steps=2), teacher=teacher)
    return tmp_path / "out"


def test_changed_settings_are_listed(begun, images, options, make_teacher):
    config = options(num_steps=4, student={"trained_blocks": 1, "class_token_weight": 0.0})
    with pytest.raises(TrainingError) as caught:
        distill(images[:-1], begun, config, teacher=make_teacher(seed=1))
    lines = str(caught.value).splitlines()
    names = [line.split(":")[0].strip() for line in lines[1:-1]]
    changed = ["num_steps", "student.trained_blocks", "student.class_token_weight"]
    assert names == [*changed, "teacher", "num_images", "data"]
    assert "num_steps: 2 in the checkpoint, 4 in the request" in lines[1]
    assert "allow_changes=true" in lines[-1]


def test_changes_can_be_allowed(begun, images, options, teacher):
    run = distill(images, begun, options(num_steps=4, allow_changes=True), teacher=teacher)
    assert run.step == 4 and run.notes == ("changed: num_steps: 2 in the checkpoint, 4 in the request",)


def test_less_memory_is_no_change(begun, images, options, teacher):
    config = options(num_steps=2, student={"gradient_checkpointing": True, "class_token_weight": 0.1})
    assert distill(images, begun, config, teacher=teacher).notes == ()


def test_another_readout_is_a_change(begun, images, options, make_teacher):
    with pytest.raises(TrainingError, match=r"features.layer: 1 in the checkpoint, 0 in the request"):
        distill(images, begun, options(num_steps=2), teacher=make_teacher(layer=0))


def test_a_folder_with_a_run_of_another_stage(tmp_path, begun, images, options, teacher):
    out = tmp_path / "other"
    shutil.copytree(begun / "checkpoints", out / "checkpoints")
    (path,) = checkpoint_paths(out / "checkpoints")
    with pytest.raises(TrainingError, match=r"belongs to a run of dvt distill, not of dvt train: give another out"):
        find_start("auto", out / "checkpoints", {"stage": "train"}, allow_changes=True)
    with pytest.raises(TrainingError, match=r"belongs to a run of dvt distill, not of dvt train"):
        find_start(str(path), tmp_path / "empty", {"stage": "train"}, allow_changes=True)


def test_a_finished_model_is_never_overwritten_by_another_run(begun, images, options, teacher):
    claim_folder(begun, "distilled")
    with pytest.raises(TrainingError, match=r"holds a distilled ViT .*no run that could be continued into a denoiser"):
        claim_folder(begun, "denoiser")
    before = (begun / CONFIG_FILE).read_bytes()
    shutil.rmtree(begun / "checkpoints")
    with pytest.raises(TrainingError, match=r"holds a distilled ViT .*: give another out, or delete it"):
        distill(images, begun, options(num_steps=2, seed=1), teacher=teacher)
    assert (begun / CONFIG_FILE).read_bytes() == before


def test_a_denoiser_in_the_folder_stays(tmp_path, images, options, teacher):
    info = ModelInfo(
        kind="denoiser",
        spec=replace(teacher.backbone.spec, backbone="vit"),
        architecture={},
        training={},
        metrics={},
        base_license=None,
        code_version="0",
    )
    write_model_folder(tmp_path / "out", teacher.denoiser.state_dict(), info)
    with pytest.raises(TrainingError, match=r"out=.*out holds a denoiser of vit, and no run .* a distilled ViT"):
        distill(images, tmp_path / "out", options(), teacher=teacher)
    (tmp_path / "out" / CONFIG_FILE).write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        distill(images, tmp_path / "out", options(), teacher=teacher)


def test_a_file_in_the_place_of_the_folder(tmp_path, images, options, teacher):
    (tmp_path / "out").write_text("")
    with pytest.raises(TrainingError, match="out is a file: give the name of a folder"):
        distill(images, tmp_path / "out", options(), teacher=teacher)


def test_wishes_that_this_vit_cannot_fulfil_leave_no_folder(tmp_path, images, options, make_teacher, teacher):
    siglip = make_teacher("vit_base_patch16_siglip_512.v2_webli")
    for config, model in (
        (options(student={"class_token_weight": 1.0}), siglip),
        (options(student={"trained_blocks": 3}), teacher),
        (options(), make_teacher(precision="bf16")),
    ):
        with pytest.raises(ConfigError):
            distill(images, tmp_path / "out", config, teacher=model)
    with pytest.raises(TrainingError, match="1 image was given"):
        distill(images[:1], tmp_path / "out", options(), teacher=teacher)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_image_that_cannot_be_read_ends_the_run_when_its_turn_comes(num_workers, tmp_path, folder, options, teacher):
    photos = shutil.copytree(folder, tmp_path / "photos")
    config = options(num_steps=8, batch_size=1, save_every=1, num_workers=num_workers, validate_every=8)
    train, _ = split_images(find_images(photos), config.dataset)
    draws = list(StepBatches(len(train), 1, config.num_steps, config.seed))
    path = train[draws[-1][0].index].path
    whole = path.read_bytes()
    path.write_bytes(b"no image")
    with pytest.raises(ImageError) as caught:
        distill(find_images(photos), tmp_path / "out", config, teacher=teacher)
    assert str(caught.value).startswith(f"{path} is not an image") and "Traceback" not in str(caught.value)
    newest = checkpoint_paths(tmp_path / "out" / "checkpoints")[0]
    assert newest in [checkpoint_path(newest.parent, step) for step in (6, 7)]  # images are read a step ahead
    path.write_bytes(whole)
    assert distill(find_images(photos), tmp_path / "out", config, teacher=teacher).step == 8


def test_no_images(tmp_path):
    with pytest.raises(ImageError, match="is empty"):
        find_images(tmp_path)
