"""A student that drops patches: off by default, learned, resumed, reloaded, and refused where it cannot be."""

import pytest
import torch
from reporters import ActAt

from dvt.backbone.load import load_backbone
from dvt.backbone.pruning import drawn_masks, watched_stages
from dvt.backbone.wrap import wrap_backbone
from dvt.distillation.config import StudentConfig
from dvt.distillation.distill import DistillModule, distill
from dvt.distillation.student import Student
from dvt.errors import BackboneError, ConfigError, TrainingError, WeightsError
from dvt.export.run import export_model
from dvt.losses import feature_distance
from dvt.methods.kept import kept_of
from dvt.methods.method import OnePass
from dvt.runtime import seed_for
from dvt.training.config import TrainerConfig
from dvt.weights.build import load_denoised
from dvt.weights.checkpoint import checkpoint_paths
from dvt.weights.convert import convert
from dvt.weights.folder import WEIGHTS_FILE, read_model_folder

FEW = {"num_steps": 2, "batch_size": 2, "save_every": 2, "validate_every": 2}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def weights(out):
    return read_model_folder(out, kind="distilled")[0]


@pytest.fixture(scope="module")
def four_blocks(make_teacher):
    return make_teacher(depth=4)


@pytest.fixture(scope="module")
def micro():
    teacher, _ = load_denoised("vit_micro", weights="vit_micro/denoiser", image_size=96, device="cpu")
    return teacher


@pytest.fixture(scope="module", params=[[], "all"], ids=["plain", "layers"])
def trained(request, tmp_path_factory, images, options, micro):
    """A folder that was distilled with and without a linear layer behind the ViT."""
    out = tmp_path_factory.mktemp("pruned") / "out"
    distill(images, out, options(**FEW, student={"keep": 0.7, "layers": request.param}), teacher=micro)
    return out


@pytest.fixture
def batch():
    return torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(4))


def test_keeping_all_is_the_plain_student(tmp_path, images, options, teacher):
    for name, student in (("default", {}), ("one", {"keep": 1.0})):
        distill(images, tmp_path / name, options(num_steps=2, student=student), teacher=teacher)
    assert same(weights(tmp_path / "default"), weights(tmp_path / "one"))
    assert weights(tmp_path / "one").keys() == teacher.backbone.vit.state_dict().keys()
    assert read_model_folder(tmp_path / "one")[1].training["student"] == {
        "trained_blocks": 0,
        "class_token_weight": 0.1,
    }


def test_what_is_trained_is_reloaded_from_everything_that_was_written(trained, batch):
    model, _ = load_denoised(weights=trained, device="cpu")
    with watched_stages() as stages:
        features = model(batch)
    assert [stage.kept.shape[1] for stage in stages] == [25, 18, 12] and model.grid.num_patches == 36
    (checkpoint,) = checkpoint_paths(trained / "checkpoints")
    other, _ = load_denoised("vit_micro", weights=checkpoint, device="cpu", image_size=96)
    assert torch.equal(other(batch).patches, features.patches)
    if read_model_folder(trained)[1].kind == "distilled":
        backbone = load_backbone("vit_micro", weights=trained / WEIGHTS_FILE, image_size=96, device="cpu")
        assert torch.equal(backbone(batch).patches, features.patches)
        assert torch.equal(backbone(batch).prefix, features.prefix)
        assert "drops patches on its way" in (trained / "README.md").read_text()
        with pytest.raises(WeightsError, match="drops patches on its way, and the original's format has no place"):
            convert(trained, trained.parent / "original.pth")
        convert(checkpoint, trained.parent / "folder", backbone="vit_micro")
        converted, _ = load_denoised(weights=trained.parent / "folder", device="cpu", image_size=96)
        assert torch.equal(converted(batch).patches, features.patches)


def test_it_is_exported_as_a_folder(trained, tmp_path):
    model, _ = load_denoised(weights=trained, device="cpu")
    assert export_model(model, tmp_path / "folder").parity.max_difference == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.pt2", "model.onnx"])
def test_it_is_exported_as_one_file(name, trained, tmp_path):
    pytest.importorskip("onnxruntime")
    model, _ = load_denoised(weights=trained, device="cpu")
    assert export_model(model, tmp_path / name).parity.max_difference < 1e-3


def test_what_it_keeps_is_a_map(trained):
    model, _ = load_denoised(weights=trained, device="cpu")
    raw = OnePass("raw", load_backbone("vit_micro", image_size=96, device="cpu"))
    found = kept_of([raw, OnePass("distilled", model)], torch.rand(3, 50, 70), (96, 96))
    kept = found["distilled"]
    assert [*found] == ["distilled"] and kept.scores.shape == kept.blocks.shape == (6, 6)
    assert {*kept.blocks.unique().tolist()} == {1, 3, 4, 6} and int((kept.blocks == 6).sum()) == 12
    first = kept.scores.flatten().topk(25).indices
    assert (
        bool((kept.blocks.flatten()[first] > 1).all()) and 0 < float(kept.scores.min()) < float(kept.scores.max()) < 1
    )


def test_stopped_and_resumed_is_the_same_as_never_stopped(tmp_path, images, options, four_blocks):
    config = options(student={"keep": 0.5}, optimizer={"ema_decay": 0.9})
    distill(images, tmp_path / "whole", config, teacher=four_blocks)
    assert distill(images, tmp_path / "parts", config, teacher=four_blocks, reporter=ActAt(3)).interrupted
    distill(images, tmp_path / "parts", config, teacher=four_blocks)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    before, after = Student(four_blocks.backbone, config.student).pruning.state_dict(), weights(tmp_path / "whole")
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[f"pruning.{name}"])}
    assert changed == before.keys() - {"keep_share"}
    with pytest.raises(TrainingError, match=r"student.keep: 0.5 in the checkpoint, nothing in the request"):
        distill(images, tmp_path / "parts", options(optimizer={"ema_decay": 0.9}), teacher=four_blocks)
    changed = options(student={"keep": 0.6}, optimizer={"ema_decay": 0.9}, allow_changes=True)
    with pytest.raises(TrainingError, match=r"holds another network:\n  student.keep: 0.5"):
        distill(images, tmp_path / "parts", changed, teacher=four_blocks)


@pytest.mark.parametrize("trainer", [{}, {"precision": "bf16-mixed"}])
def test_gradient_checkpointing_gives_the_same_weights(trainer, tmp_path, images, options, four_blocks):
    for saves in (False, True):
        student = {"keep": 0.5, "gradient_checkpointing": saves}
        config = options(num_steps=2, student=student, trainer=TrainerConfig(accelerator="cpu", **trainer))
        distill(images, tmp_path / str(saves), config, teacher=four_blocks)
    assert same(weights(tmp_path / "False"), weights(tmp_path / "True"))


def test_it_learns(tmp_path, images, options, four_blocks):
    config = options(
        num_steps=40, save_every=40, validate_every=40, dataset={"val_share": 0.25}, student={"keep": 0.5},
        optimizer={"base_learning_rate": 2e-2},
    )  # fmt: skip
    few = options(num_steps=2, dataset={"val_share": 0.25}, student={"keep": 0.5})
    before = distill(images, tmp_path / "few", few, teacher=four_blocks).metrics["val/mse"]
    assert distill(images, tmp_path / "out", config, teacher=four_blocks).metrics["val/mse"] < 0.9 * before


def test_the_loss_has_the_weighted_distance_of_the_shares(four_blocks, options):
    config = options(student={"keep": 0.5, "keep_weight": 3.0})
    student = Student(four_blocks.backbone, config.student)
    batch = {"key": ["a", "b"], "image": torch.rand(2, 3, 64, 64)}
    loss = DistillModule(student, config, {}, four_blocks, 0.0).loss(batch)
    with drawn_masks(seed_for(0, "masks 0 0")) as draws:
        given = student(batch["image"])
    distance = feature_distance(given.patches, four_blocks(batch["image"]).patches)
    ratio = sum((share - 0.5**power).square().mean() for power, share in enumerate(draws.shares, 1)) / 3
    assert float(ratio.detach()) > 1e-4
    torch.testing.assert_close(loss, distance + 3.0 * ratio)


def test_every_part_asks_for_a_gradient_and_gets_one(four_blocks):
    for blocks in (0, 1):
        student = Student(four_blocks.backbone, StudentConfig(keep=0.5, trained_blocks=blocks))
        with drawn_masks(0):
            student(torch.rand(2, 3, 64, 64)).patches.square().mean().backward()
        named = dict(student.backbone.vit.named_parameters())
        asking = {name for name, parameter in named.items() if parameter.requires_grad}
        assert asking == {name for name, parameter in named.items() if parameter.grad is not None}
        assert {name for name in asking if name.startswith("pruning.")} == {
            f"pruning.{name}" for name, _ in student.pruning.named_parameters()
        }
    assert four_blocks.backbone.pruning is None, "the ViT itself is not changed"


def test_options_that_mean_nothing_are_refused():
    for wrong in ({"keep": 0.0}, {"keep": 1.1}, {"keep": 0.7, "keep_weight": 0.0}):
        with pytest.raises(ConfigError, match=r"student.keep(_weight)?="):
            StudentConfig(**wrong)
    with pytest.raises(ConfigError, match=r"student.keep_weight=1.0 has no effect with student.keep=1"):
        StudentConfig(keep_weight=1.0)


def test_vits_that_cannot_drop_patches_are_refused(tmp_path, images, options, make_teacher, trained):
    keep = options(student={"keep": 0.7})
    with pytest.raises(BackboneError, match=r"vit_small_patch16_dinov3.* cannot drop patches: its attention"):
        distill(images, tmp_path / "out", keep, teacher=make_teacher("vit_small_patch16_dinov3", depth=4))
    with pytest.raises(BackboneError, match="takes at least 4, and the ViT has 2"):
        distill(images, tmp_path / "out", keep, teacher=make_teacher())
    wrapped = wrap_backbone(torch.nn.Conv2d(3, 8, 4, 4), patch=4, name="stem", image_size=16, device="cpu")
    with pytest.raises(BackboneError, match="takes at least 4, and the ViT has 1"):
        Student(wrapped, keep.student)
    model, _ = load_denoised(weights=trained, device="cpu")
    for config in (StudentConfig(), keep.student):
        with pytest.raises(BackboneError, match="drops patches already"):
            Student(getattr(model, "backbone", model), config)
    assert not (tmp_path / "out").exists()
