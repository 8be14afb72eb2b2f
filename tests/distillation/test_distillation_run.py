"""Stage 3 as a run: it learns, keeps the class token, stops, resumes to the same weights, and publishes a plain ViT."""

import pytest
import timm
import torch
from reporters import ActAt, Collect

from dvt.backbone.load import load_backbone
from dvt.denoiser.config import DenoiserConfig
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.denoiser.network import Denoiser
from dvt.distillation.config import StudentConfig
from dvt.distillation.distill import DistillModule, distill, split_images
from dvt.distillation.student import Student
from dvt.images import read_image
from dvt.losses import feature_distance
from dvt.training.config import LoggerConfig, TrainerConfig
from dvt.weights.build import load_denoised
from dvt.weights.checkpoint import checkpoint_path, checkpoint_paths
from dvt.weights.folder import WEIGHTS_FILE, read_model_folder

NARROW = {"depth": 2, "embed_dim": 64, "num_heads": 4, "mlp_ratio": 4}
LEARN = {"num_steps": 12, "save_every": 12, "validate_every": 12, "optimizer": {"base_learning_rate": 2e-2}}


def weights(out):
    return read_model_folder(out, kind="distilled")[0]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def plain_vit(out, **architecture):
    """The published weights in a model of timm that knows nothing of dvt."""
    state, info = read_model_folder(out)
    model = timm.create_model(info.spec.backbone, num_classes=0, dynamic_img_size=True, **architecture).eval()
    model.load_state_dict(state, strict=True)
    return model


@pytest.fixture(scope="module")
def learned(tmp_path_factory, images, teacher, options):
    """A run that has learned something, and its options."""
    out = tmp_path_factory.mktemp("run") / "out"
    config = options(
        **(LEARN | {"num_steps": 80, "save_every": 80, "validate_every": 80}),
        show_every=80, dataset={"val_share": 0.25}, logger=LoggerConfig(),
    )  # fmt: skip
    return distill(images, out, config, teacher=teacher), config


def test_it_learns(learned):
    run, _ = learned
    metrics = run.metrics
    assert run.step == 80 and not run.interrupted
    assert metrics["val/mse"] < 0.8 * metrics["val/raw_mse"]
    assert metrics["val/cosine"] > metrics["val/raw_cosine"]


def test_the_numbers_of_the_validation_are_those_of_the_published_vit(learned, images, teacher):
    run, config = learned
    _, val = split_images(images, config.dataset)
    batch = torch.stack([teacher.preprocess(read_image(image.path)) for image in val])
    wanted, raw = teacher(batch), teacher.backbone(batch)
    with torch.no_grad():
        tokens = plain_vit(run.out, **NARROW).forward_features((batch - teacher.backbone.mean) / teacher.backbone.std)
    given = tokens[:, 1:].reshape(wanted.patches.shape)
    expected = {
        "mse": (given - wanted.patches).square().mean(),
        "raw_cosine": torch.cosine_similarity(raw.patches, wanted.patches, dim=-1).mean(),
        "class_token_cosine": torch.cosine_similarity(tokens[:, 0], raw.prefix[:, 0], dim=-1).mean(),
    }
    for name, value in expected.items():
        assert run.metrics[f"val/{name}"] == pytest.approx(float(value), abs=1e-5), name
    assert len(val) == 3 and "val/student_position_share" not in run.metrics, "three maps say nothing of position"


def test_what_is_published_says_what_it_is(learned, teacher):
    run, _ = learned
    state, info = read_model_folder(run.out, kind="distilled")
    assert state.keys() == teacher.backbone.vit.state_dict().keys()
    assert info.spec == teacher.backbone.spec
    assert info.architecture == {} and info.training["teacher_sha256"] == teacher.weights_hash
    assert (info.training["num_images"], info.training["num_val_images"], info.training["num_steps"]) == (9, 3, 80)
    assert info.training["student"] == {"trained_blocks": 0, "class_token_weight": 0.1}
    assert info.metrics["mse"] == pytest.approx(run.metrics["val/mse"])
    assert len(list((run.out / "runs").glob("*.json"))) == 1


def test_numbers_and_panels_are_kept(learned):
    run, _ = learned
    (table,) = (run.out / "logs").glob("*/metrics.csv")
    header = table.read_text().splitlines()[0].split(",")
    assert {"train/loss", "val/mse", "val/raw_mse", "val/class_token_cosine"} <= {*header}
    assert [path.name for path in (run.out / "panels").iterdir()] == ["step-00000080.png"]


def test_it_loads_as_a_plain_timm_model_and_as_a_backbone(tmp_path, images, options):
    """The real architecture, for its name alone has to say all."""
    raw = load_backbone("vit_tiny_patch16_224", weights="random", image_size=64, device="cpu")
    teacher = DenoisedBackbone(raw, Denoiser(DenoiserConfig(), 192, (4, 4)))
    distill(images, tmp_path / "out", options(num_steps=2, batch_size=2, validate_every=2), teacher=teacher)
    batch = torch.rand(2, 3, 64, 64)
    loaded = load_backbone(
        "vit_tiny_patch16_224", weights=tmp_path / "out" / WEIGHTS_FILE, image_size=64, device="cpu"
    )(batch)
    by_folder, _ = load_denoised("vit_tiny_patch16_224", weights=tmp_path / "out", device="cpu")
    with torch.no_grad():
        tokens = plain_vit(tmp_path / "out").forward_features((batch - raw.mean) / raw.std)
    assert by_folder.grid == raw.grid and torch.equal(by_folder(batch).patches, loaded.patches)
    torch.testing.assert_close(loaded.patches.flatten(1, 2), tokens[:, 1:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loaded.prefix[:, 0], tokens[:, 0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(loaded.patches, raw(batch).patches, atol=1e-4)


def test_the_class_token_is_kept_where_it_has_a_weight(tmp_path, images, options, teacher):
    cosines = {}
    for weight in (0.0, 1.0):
        config = options(**LEARN, batch_size=6, student={"class_token_weight": weight})
        cosines[weight] = distill(images, tmp_path / f"{weight}", config, teacher=teacher).metrics[
            "val/class_token_cosine"
        ]
    assert cosines[1.0] > cosines[0.0] + 0.1


def test_a_vit_without_class_token(tmp_path, images, options, make_teacher):
    run = distill(
        images, tmp_path / "out", options(num_steps=2), teacher=make_teacher("vit_base_patch16_siglip_512.v2_webli")
    )
    assert "val/class_token_cosine" not in run.metrics and "val/mse" in run.metrics
    assert plain_vit(run.out, global_pool="", **NARROW)


def test_the_seed_decides(tmp_path, images, options, teacher):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        distill(images, tmp_path / name, options(num_steps=2, seed=seed), teacher=teacher)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_what_is_not_trained_stays_bit_for_bit(ema_decay, tmp_path, images, options, teacher):
    config = options(num_steps=3, student={"trained_blocks": 1}, optimizer={"ema_decay": ema_decay})
    distill(images, tmp_path / "out", config, teacher=teacher)
    before, after = teacher.backbone.vit.state_dict(), weights(tmp_path / "out")
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {key for key in before if key.startswith(("blocks.1.", "norm."))}


def test_gradient_checkpointing_gives_the_same_weights(tmp_path, images, options, teacher):
    for saves in (False, True):
        config = options(num_steps=3, student={"gradient_checkpointing": saves})
        distill(images, tmp_path / str(saves), config, teacher=teacher)
    assert same(weights(tmp_path / "False"), weights(tmp_path / "True"))


def test_mixed_precision_trains_weights_in_full(tmp_path, images, options, teacher):
    trainer = TrainerConfig(accelerator="cpu", precision="bf16-mixed")
    config = options(**LEARN, trainer=trainer, student={"gradient_checkpointing": True})
    run = distill(images, tmp_path / "out", config, teacher=teacher)
    assert run.metrics["val/mse"] < run.metrics["val/raw_mse"]
    assert {tensor.dtype for tensor in weights(tmp_path / "out").values()} == {torch.float32}


def test_the_layer_of_the_teacher_is_what_is_learned(tmp_path, images, options, make_teacher):
    teacher = make_teacher(layer=0, norm=False)
    run = distill(images, tmp_path / "out", options(**LEARN, dataset={"val_share": 0.25}), teacher=teacher)
    before, after = teacher.backbone.vit.state_dict(), weights(tmp_path / "out")
    behind = [key for key in before if key.startswith(("blocks.1.", "norm."))]
    assert behind and all(torch.equal(before[key], after[key]) for key in behind)
    assert run.metrics["val/mse"] < run.metrics["val/raw_mse"]
    assert read_model_folder(tmp_path / "out")[1].spec.layer == 0


def test_any_teacher_with_a_vit_inside_will_do(tmp_path, images, options, teacher):
    class Smoother:
        """The ViT with the mean of each map mixed in."""

        backbone, grid, weights_hash = teacher.backbone, teacher.grid, "smooth"
        device, settings = teacher.device, {"mixed": 0.5}

        def __call__(self, batch):
            raw = self.backbone(batch)
            patches = (raw.patches + raw.patches.mean(dim=(1, 2), keepdim=True)) / 2
            return type(raw)(patches=patches, prefix=raw.prefix, grid=raw.grid)

        def to(self, device):
            return self

    run = distill(
        images,
        tmp_path / "out",
        options(**(LEARN | {"num_steps": 25}), dataset={"val_share": 0.25}),
        teacher=Smoother(),
    )
    assert run.metrics["val/mse"] < run.metrics["val/raw_mse"]


def test_stopped_and_resumed_is_the_same_as_never_stopped(tmp_path, images, options, teacher):
    config = options(optimizer={"ema_decay": 0.9})
    whole = distill(images, tmp_path / "whole", config, teacher=teacher)
    first = distill(images, tmp_path / "parts", config, teacher=teacher, reporter=ActAt(3))
    assert first.interrupted and first.step == 3 and not (tmp_path / "parts" / WEIGHTS_FILE).exists()
    assert checkpoint_paths(tmp_path / "parts" / "checkpoints")[0].name == checkpoint_path(tmp_path, 3).name
    reporter = Collect()
    second = distill(images, tmp_path / "parts", config, teacher=teacher, reporter=reporter)
    assert reporter.notes[-1].endswith("continuing at step 3") and reporter.tasks == [(3, "steps", "distill")]
    assert second.step == 6 and not second.interrupted
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert second.metrics == pytest.approx(whole.metrics)


def test_the_loss_is_the_distance_of_patches_and_the_weighted_one_of_class_tokens(teacher, options):
    student = Student(teacher.backbone, StudentConfig())
    batch = {"key": ["a", "b"], "image": torch.rand(2, 3, 64, 64)}
    wanted = teacher(batch["image"])
    with torch.no_grad():
        for parameter in student.backbone.vit.blocks[1].parameters():
            parameter.mul_(1.1)
    given = student(batch["image"])
    patches = feature_distance(given.patches, wanted.patches)
    token = feature_distance(given.prefix[:, 0], wanted.prefix[:, 0])
    assert float(token.detach()) > 1e-3
    for weight in (0.0, 0.5, 1.0):
        loss = DistillModule(student, options(), {}, teacher, weight).loss(batch)
        torch.testing.assert_close(loss, patches + weight * token)
