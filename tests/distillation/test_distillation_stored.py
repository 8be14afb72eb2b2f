"""Stage 3 with the clean features of a store as targets."""

from dataclasses import replace

import pytest
import torch
from reporters import ActAt, Collect
from torch.nn import functional

from dvt.denoiser.denoised import DenoisedBackbone
from dvt.distillation.config import DistillConfig, ImagesConfig, StudentConfig
from dvt.distillation.distill import distill
from dvt.distillation.ridge_start import ridge_start
from dvt.distillation.stored import StoredModule, distill_from_store, image_sets
from dvt.distillation.student import Student
from dvt.errors import ConfigError, StoreError, TrainingError, WeightsError
from dvt.images import read_image
from dvt.losses import feature_distance
from dvt.store import FeatureStore
from dvt.training.config import Missing
from dvt.training.data import Draw
from dvt.training.pairs import CleanMaps, crop_map
from dvt.training.sources import open_sources
from dvt.views.crop import Crop
from dvt.weights.build import load_denoised
from dvt.weights.folder import WEIGHTS_FILE, read_model_folder

LEARN = {"num_steps": 25, "save_every": 25, "validate_every": 25, "optimizer": {"base_learning_rate": 8e-3}}


def sets_of(store, images, backbone, **dataset):
    sources = open_sources([store], backbone.spec, images, missing=Missing.error, group="dataset", any_grid=True)
    return image_sets(sources, DistillConfig(dataset=ImagesConfig(**dataset)), max_pixels=10**6)


def weights(out):
    return read_model_folder(out, kind="distilled")[0]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def learned(tmp_path_factory, images, decomposed, micro, options):
    """A run that has learned F from a store of its own size, and its options."""
    out, config = tmp_path_factory.mktemp("run") / "out", options(**LEARN, show_every=25, dataset={"val_share": 0.25})
    return distill_from_store([decomposed(64)], images, out, config, backbone=micro(64)), config


def test_the_student_comes_closer_to_f_and_keeps_its_class_token(learned):
    metrics = learned[0].metrics
    assert metrics["val/mse"] < 0.8 * metrics["val/raw_mse"]
    assert metrics["val/cosine"] > metrics["val/raw_cosine"]
    assert metrics["val/class_token_cosine"] > 0.9
    assert (learned[0].out / "panels" / "step-00000025.png").is_file()


def test_the_numbers_of_the_validation_are_those_of_the_published_vit_and_the_store(learned, images, decomposed, micro):
    run, config = learned
    _, val = image_sets(
        open_sources([decomposed(64)], None, images, missing=Missing.error, group="dataset"), config, 10**6
    )
    store, raw = FeatureStore.open(decomposed(64)), micro(64)
    student, preprocess = load_denoised(weights=run.out, device="cpu")
    files = {image.key: image.path for image in images}
    keys = [val[number]["key"] for number in range(len(val))]
    batch = torch.stack([preprocess(read_image(files[key])) for key in keys])
    clean = torch.stack([store[key].clean.float() for key in keys])
    expected = {
        "mse": (student(batch).patches - clean).square().mean(),
        "raw_mse": (raw(batch).patches - clean).square().mean(),
        "cosine": torch.cosine_similarity(student(batch).patches, clean, dim=-1).mean(),
    }
    for name, value in expected.items():
        assert run.metrics[f"val/{name}"] == pytest.approx(float(value), rel=1e-3), name


def test_what_is_published_names_stage_1(learned, decomposed, micro):
    _, info = read_model_folder(learned[0].out, kind="distilled")
    meta = FeatureStore.open(decomposed(64)).meta
    assert info.spec == micro(64).spec
    assert info.training["stage1"] == [{"quality": meta.quality, "solver": meta.solver}]
    assert info.training["data_sha256"] and info.training["student"]["class_token_weight"] == 0.1
    assert "teacher_sha256" not in info.training


def test_the_target_of_a_mirrored_image_is_f_mirrored(decomposed, images, micro):
    train, val = sets_of(decomposed(64), images, micro(64), flip_probability=1.0)
    record = FeatureStore.open(decomposed(64))[train[3]["key"]]
    assert torch.equal(train[3]["clean"], record.clean)
    mirrored = train[Draw(3, 0)]
    assert torch.equal(mirrored["image"], train[3]["image"].flip(-1))
    assert torch.equal(mirrored["clean"], record.clean.flip(1))
    assert len(train) == 11 and len(val) == 1


def test_at_another_size_the_target_is_f_at_the_patches_of_the_vit(decomposed, images, micro):
    train, _ = sets_of(decomposed(32, fine=2), images, micro((64, 48)), flip_probability=1.0)
    grid = micro((64, 48)).grid
    wanted = FeatureStore.open(decomposed(32, fine=2))[train[2]["key"]].field.read(grid)
    assert wanted.shape == (4, 3, 192) and train[2]["image"].shape == (3, 64, 48)
    assert torch.equal(train[2]["clean"], wanted)
    assert torch.equal(train[Draw(2, 0)]["clean"], wanted.flip(1))


def test_crops_change_image_and_target_together(decomposed, images, micro):
    train, _ = sets_of(decomposed(64), images, micro(64), crop_area_min=0.3, flip_probability=0.0)
    shown = [train[Draw(1, number)] for number in range(4)]
    assert all(each["image"].shape == (3, 64, 64) and each["clean"].shape == (4, 4, 192) for each in shown)
    assert not torch.equal(shown[0]["image"], shown[1]["image"])
    assert not torch.equal(shown[0]["clean"], shown[1]["clean"])


@pytest.mark.parametrize("fine", [1, 2])
def test_the_target_of_a_crop_is_f_at_its_places(fine, decomposed, images, micro):
    """Read from a store that holds F, else interpolated between the patches of the whole image."""
    store = FeatureStore.open(decomposed(64, fine))
    sources = open_sources([store.path], None, images, missing=Missing.error, group="dataset")
    maps = CleanMaps(sources.pairs, sources.spec.grid, keep=False)
    crop = Crop(left=20, top=10, width=40, height=60)  # of 80 x 100 pixels
    places = (torch.tensor([20.0, 10.0]) + maps.grid.centres_xy * torch.tensor([40.0, 60.0])) / torch.tensor([80, 100])
    found, record = maps.crop(3, crop, (100, 80)), store[sources.pairs[3].key]
    if fine == 2:
        torch.testing.assert_close(found, record.field.read(places), atol=1e-4, rtol=1e-4)
    else:
        torch.testing.assert_close(found, crop_map(record.clean, crop, maps.grid, (100, 80)))
    whole = maps.crop(3, Crop.whole((100, 80)), (100, 80))
    assert (whole - record.clean).abs().mean() < 0.2 * record.clean.float().abs().mean()


def test_a_vit_at_twice_the_size_learns_f(tmp_path, decomposed, images, micro, options):
    config = options(**LEARN, dataset={"val_share": 0.25})
    run = distill_from_store([decomposed(32, fine=2)], images, tmp_path / "out", config, backbone=micro(64))
    assert run.metrics["val/mse"] < 0.8 * run.metrics["val/raw_mse"]
    assert read_model_folder(run.out)[1].spec == micro(64).spec


def test_a_vit_with_a_linear_denoiser_learns_f_better_and_loads_as_one_model(
    tmp_path, decomposed, images, micro, options, learned
):
    config = options(**LEARN, dataset={"val_share": 0.25}, student={"layers": "all"})
    run = distill_from_store([decomposed(64)], images, tmp_path / "out", config, backbone=micro(64))
    assert run.metrics["val/mse"] < learned[0].metrics["val/mse"]
    _, info = read_model_folder(run.out, kind="denoised")
    assert info.spec == micro(64).spec and info.architecture["layers"] == [*range(micro(64).layer)]
    batch = torch.rand(2, 3, 64, 64)
    model, _ = load_denoised(weights=run.out, device="cpu")
    unfinished, _ = load_denoised(weights=run.out / "checkpoints" / "step-00000025.ckpt", device="cpu")
    assert isinstance(model, DenoisedBackbone) and model.weights_hash == unfinished.weights_hash
    assert torch.equal(model(batch).patches, unfinished(batch).patches)
    assert not torch.allclose(model(batch).patches, model.backbone(batch).patches, atol=0.1)
    assert not torch.allclose(model.backbone(batch).prefix, micro(64)(batch).prefix, atol=1e-4)
    with pytest.raises(WeightsError, match="was trained together with its vit_micro"):
        model.denoiser.save_pretrained(tmp_path / "alone")


def test_the_linear_denoiser_starts_at_the_ridge_regression(decomposed, images, micro):
    """Against the normal equations, written out."""
    train, _ = sets_of(decomposed(64), images, micro(64))
    student, strength = Student(micro(64), StudentConfig(layers=[2])), 0.3
    weight, bias = ridge_start(student, train, lambda batch: batch["clean"].float(), strength)
    images, clean = (torch.stack([train[number][name] for number in range(11)]) for name in ("image", "clean"))
    (third, own), y = micro(64).forward_layers(images, [2]), clean.double().flatten(0, 2)
    x = torch.cat([own.patches, functional.layer_norm(third.patches, (192,))], dim=-1).double().flatten(0, 2)
    centred, scale = x - x.mean(dim=0), x.std(dim=0, correction=0)
    system = centred.T @ centred / len(x) + strength * torch.diag(scale**2)
    wanted = torch.linalg.solve(system, centred.T @ (y - y.mean(dim=0)) / len(x))
    torch.testing.assert_close(weight.double(), wanted.T, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(bias.double(), y.mean(dim=0) - x.mean(dim=0) @ wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_a_run_starts_at_the_ridge_regression(ema_decay, tmp_path, decomposed, images, micro, options):
    optimizer = {"base_learning_rate": 1e-9, "ema_decay": ema_decay}
    config = options(num_steps=2, optimizer=optimizer, student={"layers": [2]})
    run = distill_from_store([decomposed(64)], images, tmp_path / "out", config, backbone=micro(64))
    train, _ = sets_of(decomposed(64), images, micro(64))
    weight, bias = ridge_start(Student(micro(64), config.student), train, lambda batch: batch["clean"].float(), 0.1)
    state, _ = read_model_folder(run.out)
    torch.testing.assert_close(state["denoiser.mixing.linear.weight"], weight, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(state["denoiser.mixing.linear.bias"], bias, atol=1e-4, rtol=1e-4)


def test_images_whose_features_are_not_finite_are_named(decomposed, images, micro):
    train, _ = sets_of(decomposed(64), images, micro(64))
    with pytest.raises(TrainingError, match=r"NaN or infinite: .*03.png"):
        ridge_start(Student(micro(64), StudentConfig(layers=[2])), train, lambda batch: batch["clean"] * torch.nan, 0.1)


def test_ctrl_c_before_the_first_step_ends_the_run_as_later(tmp_path, decomposed, images, micro, options, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dvt.distillation.distill.ridge_start", pressed)
    config = options(student={"layers": "all"})
    with pytest.raises(KeyboardInterrupt):
        distill_from_store([decomposed(64)], images, tmp_path / "out", config, backbone=micro(64))


def test_other_blocks_are_another_network(tmp_path, decomposed, images, micro, options):
    store, out = [decomposed(64)], tmp_path / "out"
    distill_from_store(store, images, out, options(num_steps=1, student={"layers": [1]}), backbone=micro(64))
    other = options(num_steps=1, allow_changes=True, student={"layers": [3]})
    with pytest.raises(TrainingError, match=r"student.layers: \[1\] in the checkpoint, \[3\] in the request"):
        distill_from_store(store, images, out, other, backbone=micro(64))


def test_without_f_another_size_is_refused_with_the_command_that_makes_it(tmp_path, decomposed, images, micro, options):
    with pytest.raises(StoreError, match=r"64 x 64 px, 4 x 4 patches .* does not hold F. .* store=NEW_FOLDER fine=2"):
        distill_from_store([decomposed(32)], images, tmp_path / "out", options(), backbone=micro(64))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("readout", [{"layer": 3}, {"norm": False}])
def test_layer_and_norm_have_to_be_those_of_the_store(readout, tmp_path, decomposed, images, micro, options):
    with pytest.raises(StoreError, match=f"{next(iter(readout))}: .* in the store, .* in the request"):
        distill_from_store([decomposed(64)], images, tmp_path / "out", options(), backbone=micro(64, **readout))


def test_images_without_features_are_named_or_left_out(tmp_path, decomposed, images, micro, options):
    asked = [*images, replace(images[0], key="new.png"), replace(images[1], key="other.png")]
    with pytest.raises(TrainingError, match=r"2 of 14 images have no features .*(\n.*)*dataset.missing=skip") as caught:
        distill_from_store([decomposed(64)], asked, tmp_path / "out", options(), backbone=micro(64))
    assert "new.png" in str(caught.value) and "other.png" in str(caught.value)
    reporter, config = Collect(), options(num_steps=1, dataset={"missing": Missing.skip})
    distill_from_store(
        [decomposed(64)], asked, tmp_path / "out", config, backbone=micro(64), reporter=reporter
    )  # fmt: skip
    assert "12 images, 2 without features left out ->" in reporter.notes[-1]


@pytest.mark.parametrize("layers", [[], [1, 3]])
def test_stopped_and_resumed_is_the_same_as_never_stopped(layers, tmp_path, decomposed, images, micro, options):
    config, store = options(dataset={"crop_area_min": 0.5}, student={"layers": layers}), [decomposed(64)]
    distill_from_store(store, images, tmp_path / "whole", config, backbone=micro(64))
    first = distill_from_store(store, images, tmp_path / "parts", config, backbone=micro(64), reporter=ActAt(3))
    assert first.interrupted and first.step == 3 and not (tmp_path / "parts" / WEIGHTS_FILE).exists()
    second = distill_from_store(store, images, tmp_path / "parts", config, backbone=micro(64))
    assert second.step == 6 and not second.interrupted
    whole, parts = (read_model_folder(tmp_path / name)[0] for name in ("whole", "parts"))
    assert same(whole, parts)


def test_another_store_or_another_teacher_is_a_change(tmp_path, decomposed, images, micro, options, make_teacher):
    out, config = tmp_path / "out", options(num_steps=1)
    distill_from_store([decomposed(64)], images, out, config, backbone=micro(64))
    with pytest.raises(TrainingError, match=r"\n  data: .* in the checkpoint, .* in the request\n"):
        distill_from_store([decomposed(32, fine=2)], images, out, config, backbone=micro(64))
    with pytest.raises(TrainingError, match=r"teacher: 'store' in the checkpoint"):
        distill(images, out, config, teacher=make_teacher())
    with pytest.raises(TrainingError, match=r"dataset.crop_area_min: 1.0 in the checkpoint, 0.5 in the request"):
        distill_from_store(
            [decomposed(64)], images, out, options(num_steps=1, dataset={"crop_area_min": 0.5}), backbone=micro(64)
        )


@pytest.mark.parametrize(("weight", "forwards"), [(0.0, 0), (0.5, 1)])
def test_the_frozen_vit_runs_for_class_tokens_only(weight, forwards, options, micro):
    backbone = micro(64)
    student, batch = Student(backbone, StudentConfig()), {"image": torch.rand(2, 3, 64, 64)}
    batch["clean"] = torch.randn(2, 4, 4, 192).half()
    with torch.no_grad():
        student.backbone.vit.cls_token.add_(1)
    given, token = student(batch["image"]), backbone(batch["image"]).prefix[:, 0]
    wanted = feature_distance(given.patches, batch["clean"].float())
    wanted = wanted + weight * feature_distance(given.prefix[:, 0], token)
    calls = []
    backbone.vit.patch_embed.register_forward_hook(lambda *_: calls.append(1))
    loss = StoredModule(student, options(), {}, backbone, weight).loss(batch)
    torch.testing.assert_close(loss, wanted)
    assert len(calls) == forwards


@pytest.mark.parametrize(
    ("dataset", "text"),
    [({"crop_area_min": 0.5}, "crop_area_min=0.5"), ({"missing": Missing.skip}, "missing=skip")],
)
def test_options_for_stores_are_refused_without_one(dataset, text, tmp_path, images, teacher, options):
    with pytest.raises(ConfigError, match=f"dataset.{text} is for teacher=store: leave it out"):
        distill(images, tmp_path / "out", options(dataset=dataset), teacher=teacher)
    with pytest.raises(ConfigError, match=r"dataset.crop_area_min=0.0: give 0 < crop_area_min <= 1"):
        ImagesConfig(crop_area_min=0.0)
