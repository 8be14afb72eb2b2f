"""Stage 2 as a run: it learns, stops, resumes to the same weights, and says what is wrong."""

import json
import shutil

import pytest
import torch
from reporters import ActAt, Collect

import dvt.training.callbacks
from dvt.backbone.load import load_backbone
from dvt.denoiser.config import DenoiserConfig, Missing, Mixing, Raw, TrainConfig
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.denoiser.train import train_denoiser
from dvt.errors import ConfigError, StoreError, TrainingError, WeightsError
from dvt.images import find_images
from dvt.store import FeatureStore, StoreWriter
from dvt.training.module import StageModule
from dvt.weights.build import load_denoiser
from dvt.weights.checkpoint import checkpoint_path, checkpoint_paths
from dvt.weights.folder import read_model_folder


def weights(out):
    return read_model_folder(out)[0]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_it_learns(store, tmp_path, options):
    trained = train_denoiser(
        [store],
        tmp_path / "out",
        options(num_steps=30, save_every=30, validate_every=30, optimizer={"base_learning_rate": 8e-3}),
    )
    metrics = trained.metrics
    assert trained.step == 30 and not trained.interrupted
    assert metrics["val/mse"] < 0.9 * metrics["val/raw_mse"]
    assert metrics["val/cosine"] > metrics["val/raw_cosine"]


def test_what_is_published_says_what_it_is(store, tmp_path, options, backbone):
    trained = train_denoiser([store], tmp_path / "out", options(denoiser=DenoiserConfig(num_blocks=2)))
    state, info = read_model_folder(tmp_path / "out", kind="denoiser")
    assert len(state) == 25 and info.architecture["num_blocks"] == 2
    assert info.spec == backbone.spec
    assert info.training["num_images"] + info.training["num_val_images"] == 10
    assert info.metrics["mse"] == pytest.approx(trained.metrics["val/mse"])
    (record,) = (tmp_path / "out" / "runs").glob("*.json")
    assert json.loads(record.read_text())["config"]["num_steps"] == 6


def test_the_seed_decides(store, tmp_path, options):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_denoiser([store], tmp_path / name, options(num_steps=2, seed=seed))
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.fixture(scope="module")
def whole(store, options, tmp_path_factory):
    """The weights of a run that nothing interrupts."""
    out = tmp_path_factory.mktemp("whole") / "out"
    train_denoiser([store], out, options())
    return weights(out)


def test_stopped_and_resumed_it_ends_with_the_same_weights(store, tmp_path, options):
    """With a moving average; without one below."""
    config = {"num_steps": 7, "batch_size": 3, "optimizer": {"ema_decay": 0.9}}
    train_denoiser([store], tmp_path / "whole", options(**config))
    first = train_denoiser([store], tmp_path / "parts", options(**config), reporter=ActAt(3))
    assert first.interrupted and first.step == 3
    assert checkpoint_paths(tmp_path / "parts" / "checkpoints")[0] == checkpoint_path(tmp_path / "parts/checkpoints", 3)
    assert not (tmp_path / "parts" / "config.json").exists()
    second = train_denoiser([store], tmp_path / "parts", options(**config))
    assert second.step == 7 and same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_a_crash_between_checkpoints_repeats_their_steps(store, tmp_path, options, whole):
    class Crash(Exception):
        pass

    def crash():
        raise Crash

    with pytest.raises(Crash):
        train_denoiser([store], tmp_path / "parts", options(), reporter=ActAt(5, crash))
    again = Collect()
    train_denoiser([store], tmp_path / "parts", options(), reporter=again)
    assert again.notes[-1].endswith("continuing at step 4") and again.num_done == 2
    assert same(whole, weights(tmp_path / "parts"))


def half(data):
    return data[: len(data) // 2]


def wrong_bytes(data):
    return data[: len(data) // 2] + b"\xff" * 2000 + data[len(data) // 2 + 2000 :]


@pytest.fixture(scope="module")
def stopped(store, options, tmp_path_factory):
    """A run with checkpoints of steps 4 and 5."""
    out = tmp_path_factory.mktemp("stopped") / "out"
    train_denoiser([store], out, options(), reporter=ActAt(5))
    return out


@pytest.mark.parametrize("damage", [half, wrong_bytes])
def test_a_damaged_checkpoint_is_passed_over(store, tmp_path, options, whole, stopped, damage):
    out = shutil.copytree(stopped, tmp_path / "out")
    newest = checkpoint_path(out / "checkpoints", 5)
    newest.write_bytes(damage(newest.read_bytes()))
    reporter = Collect()
    trained = train_denoiser([store], out, options(), reporter=reporter)
    assert "step-00000005.ckpt is damaged" in trained.notes[0] and "step-00000005.ckpt is damaged" in reporter.notes[0]
    assert same(whole, weights(out))


@pytest.fixture
def begun(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "begun")


def test_resumed_with_other_settings_it_refuses_and_names_them(store, begun, options):
    with pytest.raises(TrainingError, match=r"batch_size: 4 in the checkpoint, 2 in(.|\n)*allow_changes=true"):
        train_denoiser([store], begun, options(batch_size=2))


def test_settings_that_were_allowed_to_change_are_in_force(store, begun, options):
    changed = {"base_learning_rate": 1e-2, "weight_decay": 0.5, "beta1": 0.5}
    allowed = options(optimizer=changed, batch_size=2, allow_changes=True)
    assert train_denoiser([store], begun, allowed).step == 6
    content = torch.load(checkpoint_paths(begun / "checkpoints")[0], weights_only=True)
    (group,) = content["optimizer_states"][0]["param_groups"]
    peak = 1e-2 * (2 / 256) ** 0.5
    assert group["weight_decay"] == 0.5 and group["betas"] == (0.5, 0.999)
    assert group["initial_lr"] == pytest.approx(peak) and content["lr_schedulers"][0]["base_lrs"] == [
        group["initial_lr"]
    ]


def test_another_network_is_refused_whatever_is_allowed(store, begun, options):
    wider = options(denoiser=DenoiserConfig(num_blocks=2), allow_changes=True)
    with pytest.raises(TrainingError, match=r"another network:\n  denoiser.num_blocks: 1 in the checkpoint, 2 in"):
        train_denoiser([store], begun, wider)


def test_from_an_older_checkpoint_the_newer_ones_are_set_aside(store, tmp_path, options):
    config = {"save_every": 2, "keep_checkpoints": 9}
    train_denoiser([store], tmp_path / "out", options(**config))
    folder = tmp_path / "out" / "checkpoints"
    (folder / ".step-00000003.ckpt.0badcafe.tmp").write_bytes(b"half")
    older = options(**config, resume=str(checkpoint_path(folder, 2)))
    train_denoiser([store], tmp_path / "out", older, reporter=ActAt(1))
    assert [path.name for path in checkpoint_paths(folder)] == ["step-00000003.ckpt", "step-00000002.ckpt"]
    assert sorted(path.name for path in (folder / "abandoned").iterdir()) == [
        "step-00000004.ckpt",
        "step-00000006.ckpt",
    ]
    assert not list(folder.glob(".step-*"))


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_a_finished_run_is_not_run_again(store, tmp_path, options, ema_decay):
    """And publishes the same weights again: the average where there is one, not what was averaged."""
    config = options(num_steps=2, optimizer={"ema_decay": ema_decay})
    train_denoiser([store], tmp_path / "out", config)
    before = weights(tmp_path / "out")
    reporter = Collect()
    again = train_denoiser([store], tmp_path / "out", config, reporter=reporter)
    assert again.step == 2 and reporter.num_done == 0 and same(before, weights(tmp_path / "out"))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_images(store, tmp_path, options):
    """Values that float32 cannot square: finite in the store, infinite in the loss."""
    meta = FeatureStore.open(store).meta
    import dataclasses

    wide = dataclasses.replace(meta, dtype="float32")
    with StoreWriter.open(tmp_path / "store", wide) as writer:
        for number in range(4):
            size = 1e30 if number == 2 else 1.0
            maps = {name: size * torch.randn(wide.shape) for name in wide.arrays}
            writer.put(f"{number}.png", maps)
    with pytest.raises(TrainingError) as caught:
        train_denoiser([tmp_path / "store"], tmp_path / "out", options(num_steps=20, batch_size=1, save_every=1))
    assert "the loss of step" in str(caught.value) and "Its images: 2.png" in str(caught.value)
    content = torch.load(checkpoint_paths(tmp_path / "out" / "checkpoints")[0], weights_only=True)
    assert all(value.isfinite().all() for value in content["state_dict"].values())


def test_raw_features_of_the_store_or_computed_once_or_in_every_step_are_the_same(
    store, image_folder, tmp_path, options, backbone, whole
):
    for raw in (Raw.computed, Raw.recomputed):
        config = options(pairs={"raw": raw, "flip_probability": 0.0})
        train_denoiser([store], tmp_path / raw.value, config, backbone=backbone, images=find_images(image_folder))
        made = weights(tmp_path / raw.value)
        assert all(torch.allclose(made[key], whole[key], atol=2e-3) for key in whole)  # a store has 16 bits
        assert not any("vit" in key for key in made)


def test_earlier_blocks_are_learnt_from(store, image_folder, tmp_path, options, backbone):
    config = options(num_steps=3, pairs={"raw": Raw.computed}, denoiser=DenoiserConfig(layers=[2, 5]))
    train_denoiser([store], tmp_path / "out", config, backbone=backbone, images=find_images(image_folder))
    state, info = read_model_folder(tmp_path / "out")
    assert info.architecture["layers"] == [2, 5] and state["mixing.linear.weight"].abs().max() > 0
    with pytest.raises(ConfigError, match=r"denoiser.layers=\[2\]: a store holds the features of one block only"):
        train_denoiser([store], tmp_path / "stored", options(denoiser=DenoiserConfig(layers=[2])))
    deep = options(pairs={"raw": Raw.computed}, denoiser=DenoiserConfig(layers=[11]))
    with pytest.raises(ConfigError, match="give blocks before block 11"):
        train_denoiser([store], tmp_path / "deep", deep, backbone=backbone, images=find_images(image_folder))


def test_all_blocks_are_learnt_from(store, image_folder, tmp_path, options, backbone):
    denoiser = DenoiserConfig(layers="all", mixing=Mixing.linear)
    config = options(num_steps=3, pairs={"raw": Raw.computed}, denoiser=denoiser)
    images = find_images(image_folder)
    train_denoiser([store], tmp_path / "out", config, backbone=backbone, images=images)
    loaded = load_denoiser(tmp_path / "out")
    assert loaded.config.layers == list(range(11)) and loaded.config.mixing is Mixing.linear
    denoised = DenoisedBackbone(backbone, loaded)
    assert denoised(torch.rand(1, 3, 48, 64)).patches.shape == (1, 3, 4, 192)
    shallow = load_backbone("vit_tiny_patch16_224", weights="random", image_size=64, device="cpu", layer=5)
    with pytest.raises(WeightsError, match="layer: 11 in the denoiser, 5 in the backbone"):
        DenoisedBackbone(shallow, loaded)
    again = train_denoiser([store], tmp_path / "out", config, backbone=backbone, images=images)
    assert again.step == 3  # the list of blocks is what the checkpoint and the request share


def test_a_checkpoint_from_before_the_mixing_had_names_is_resumed(store, tmp_path, options, stopped, whole):
    out = shutil.copytree(stopped, tmp_path / "out")
    for path in checkpoint_paths(out / "checkpoints"):
        content = torch.load(path, weights_only=True)
        del content["dvt"]["settings"]["denoiser"]["mixing"]
        torch.save(content, path)
    train_denoiser([store], out, options())
    assert same(whole, weights(out))


def test_images_are_needed_where_raw_features_are_computed(store, tmp_path, options):
    with pytest.raises(ConfigError, match=r"pairs.raw=recomputed needs the images: give images="):
        train_denoiser([store], tmp_path / "out", options(pairs={"raw": Raw.recomputed}))


def test_a_backbone_with_other_weights_is_refused(store, image_folder, tmp_path, options):
    from dvt.backbone.load import load_backbone

    other = load_backbone("vit_tiny_patch16_224", weights="random", image_size=64, device="cpu")
    other.weights_hash = "something else"
    with pytest.raises(StoreError, match=r"weights_hash: .* in the store"):
        train_denoiser(
            [store], tmp_path / "out", options(pairs={"raw": Raw.recomputed}), backbone=other,
            images=find_images(image_folder),
        )  # fmt: skip


def test_several_workers_read_the_same(store, tmp_path, options):
    train_denoiser([store], tmp_path / "none", options(num_steps=3))
    train_denoiser([store], tmp_path / "two", options(num_steps=3, num_workers=2))
    assert same(weights(tmp_path / "none"), weights(tmp_path / "two"))


def test_clipping_bounds_what_a_step_can_do(store, tmp_path, options):
    train_denoiser([store], tmp_path / "free", options(num_steps=2))
    train_denoiser([store], tmp_path / "clipped", options(num_steps=2, optimizer={"clip_norm": 1e-12}))
    assert not same(weights(tmp_path / "free"), weights(tmp_path / "clipped"))


def test_bf16(store, tmp_path, options):
    from dvt.training.config import TrainerConfig

    config = options(num_steps=3, trainer=TrainerConfig(accelerator="cpu", precision="bf16-mixed"))
    assert train_denoiser([store], tmp_path / "out", config).metrics["val/mse"] < 10
    assert all(value.dtype is torch.float32 for value in weights(tmp_path / "out").values())


def test_panels_of_validation_images_show_the_average_that_is_published(store, tmp_path, options, monkeypatch):
    shown = []
    draw = dvt.training.callbacks.sample_rows
    monkeypatch.setattr("dvt.training.callbacks.sample_rows", lambda rows: (shown.append(rows), draw(rows))[1])
    optimizer = {"ema_decay": 0.9, "base_learning_rate": 4e-3}
    train_denoiser([store], tmp_path / "out", options(show_every=3, optimizer=optimizer))
    assert [path.name for path in sorted((tmp_path / "out" / "panels").iterdir())] == [
        "step-00000003.png",
        "step-00000006.png",
    ]
    _, maps = shown[-1][0]
    published = load_denoiser(tmp_path / "out")
    assert torch.allclose(published(maps["raw"][None])[0], maps["denoised"], atol=1e-5)


def test_weights_that_are_not_finite_are_not_saved():
    """The loss of their step was finite: its gradient was not."""
    module = StageModule(torch.nn.Linear(2, 2), TrainConfig(), {})
    module.on_save_checkpoint({})
    module.network.weight.data[0, 0] = float("inf")
    with pytest.raises(TrainingError, match="step 0 made weights that are not finite"):
        module.on_save_checkpoint({})


def test_skipping_images_is_no_other_run(store, image_folder, tmp_path, options):
    images = find_images(image_folder)
    train_denoiser([store], tmp_path / "out", options(num_steps=2), images=images)
    config = options(num_steps=2, pairs={"missing": Missing.skip})
    assert train_denoiser([store], tmp_path / "out", config, images=images).notes == ()


def test_a_device_that_is_not_there(store, tmp_path, options):
    from dvt.training.config import TrainerConfig

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ConfigError, match="accelerator=gpu"):
        train_denoiser([store], tmp_path / "out", options(trainer=TrainerConfig(accelerator="gpu")))
