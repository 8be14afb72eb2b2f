"""The linear denoiser: it solves what a dense solver solves, and is used like any other."""

import pytest
import torch
from noise import write_noise
from reporters import ActAt, Collect

from dvt import __version__
from dvt.backbone.load import load_backbone
from dvt.denoiser.config import DenoiserConfig, Kind, Raw, RidgeConfig
from dvt.denoiser.denoised import denoiser_input
from dvt.denoiser.network import Denoiser
from dvt.denoiser.online import train_from_images
from dvt.denoiser.ridge import RidgeSums
from dvt.denoiser.train import train_denoiser
from dvt.errors import ConfigError, TrainingError, WeightsError
from dvt.export.fixed_size import fixed_size
from dvt.images import find_images, read_image
from dvt.store import FeatureStore, StoreMeta, StoreWriter
from dvt.training.config import TrainerConfig
from dvt.weights.build import load_denoised, load_denoiser
from dvt.weights.convert import convert
from dvt.weights.folder import read_model_folder

LAYERS = [1, 3]


def dense_ridge(inputs, targets, strength):
    """Least squares with a row sqrt(strength N) w = 0 for every weight of the standardised inputs."""
    x, y = inputs.double(), targets.double()
    mean, scale = x.mean(dim=0), x.std(dim=0, correction=0)
    x = (x - mean) / scale
    rows = torch.cat([x, (strength * len(x)) ** 0.5 * torch.eye(x.shape[1])])
    wanted = torch.cat([y - y.mean(dim=0), torch.zeros(x.shape[1], y.shape[1])])
    weight = torch.linalg.lstsq(rows, wanted).solution / scale[:, None]
    return weight.T, y.mean(dim=0) - mean @ weight


def summed(inputs, targets, size):
    sums = RidgeSums(inputs.shape[1], targets.shape[1])
    for part in zip(inputs.split(size), targets.split(size), strict=True):
        sums.add(*part)
    return sums


@pytest.mark.parametrize("strength", [1e-6, 1e-2, 10.0])
def test_sums_give_what_a_dense_solver_gives(strength):
    torch.manual_seed(0)
    inputs = torch.randn(300, 12) @ torch.randn(12, 12) * torch.logspace(-3, 3, 12) + 100  # far from zero, other scales
    targets = torch.randn(300, 5) + inputs[:, :5] / 10
    weight, bias = summed(inputs, targets, 37).solve(strength)
    wanted_weight, wanted_bias = dense_ridge(inputs, targets, strength)
    scale = wanted_weight.abs().amax(dim=0)
    assert torch.allclose(weight / scale, wanted_weight / scale, atol=1e-6)
    assert torch.allclose(bias, wanted_bias, rtol=1e-6, atol=1e-6)


def test_inputs_that_never_change_get_no_weight():
    torch.manual_seed(0)
    inputs = torch.randn(50, 3)
    inputs[:, 1] = 0.3
    weight, _ = summed(inputs, inputs[:, :1], 20).solve(1e-6)
    assert torch.allclose(weight, torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64), atol=1e-4)
    assert weight[0, 1] == 0


@pytest.fixture(scope="module")
def vit():
    return load_backbone("vit_micro", image_size=160, device="cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(10):
        write_noise(folder / f"{number}.png", (160, 160), seed=number)
    return find_images(folder)


@pytest.fixture(scope="module")
def teacher():
    """A linear denoiser with known weights."""
    torch.manual_seed(0)
    return Denoiser(DenoiserConfig(kind=Kind.linear, layers=LAYERS), 192, (10, 10)).requires_grad_(False)


@pytest.fixture(scope="module")
def planted(tmp_path_factory, vit, photos, teacher):
    """A store whose clean features are those of `teacher`."""
    folder = tmp_path_factory.mktemp("stores") / "planted"
    meta = StoreMeta(spec=vit.spec, solver={}, quality="planted", code_version=__version__, dtype="float32")
    with StoreWriter.open(folder, meta) as writer:
        for photo in photos:
            inputs, _, _ = denoiser_input(vit, vit.preprocess(read_image(photo.path))[None], LAYERS)
            writer.put(photo.key, {"raw": inputs[0, ..., :192], "clean": teacher(inputs)[0]})
    return folder


@pytest.fixture
def ridge(planted, options, vit, photos):
    """ridge(out, layers=[1]): solve a linear denoiser of the planted store."""

    def solve(out, layers=LAYERS, raw=Raw.computed, reporter=None, **changes):
        config = options(denoiser=DenoiserConfig(kind=Kind.linear, layers=layers), pairs={"raw": raw}, **changes)
        shown = {} if reporter is None else {"reporter": reporter}
        return train_denoiser([planted], out, config, backbone=vit, images=photos, **shown)

    return solve


def test_it_finds_the_linear_map_that_the_clean_features_are(ridge, tmp_path, teacher, vit, photos):
    reporter = Collect()
    trained = ridge(tmp_path / "out", ridge=RidgeConfig(strengths=[1e-9, 1e-2]), reporter=reporter)
    assert trained.metrics["val/mse"] < 1e-4 * trained.metrics["val/raw_mse"]
    assert "ridge from 576 inputs, 8 MB" in reporter.notes[0] and "strength 1e-09" in reporter.notes[1]
    assert "the best is at the end of ridge.strengths" in reporter.notes[1]
    found = load_denoiser(tmp_path / "out")
    assert found.config.kind is Kind.linear and found.info.training["num_patches"] == 9 * 100
    model, preprocess = load_denoised(weights=tmp_path / "out", device="cpu")
    image = preprocess(photos[0].path)[None]
    inputs, _, _ = denoiser_input(vit, image, LAYERS)
    assert torch.allclose(model(image).patches, teacher(inputs), atol=0.02)
    assert model(torch.rand(1, 3, 64, 96)).patches.shape == (1, 4, 6, 192)


def test_from_the_output_alone_it_is_the_dense_solution_of_the_stored_pairs(ridge, planted, tmp_path):
    trained = ridge(tmp_path / "out", layers=[], raw=Raw.stored, ridge=RidgeConfig(strengths=[0.1]))
    state, info = read_model_folder(tmp_path / "out")
    store = FeatureStore.open(planted)
    (val_key,) = set(store) - {key for key in store if _is_train(key, store)}
    rows = {name: torch.cat([store[key].array(name).flatten(0, 1) for key in store if key != val_key])
            for name in ("raw", "clean")}  # fmt: skip
    weight, bias = dense_ridge(rows["raw"], rows["clean"], 0.1)
    assert torch.allclose(state["mixing.linear.weight"].double(), weight, atol=1e-5)
    assert torch.allclose(state["mixing.linear.bias"].double(), bias, atol=1e-5)
    left = store[val_key]
    error = (left.raw.double() @ weight.T + bias - left.clean).square().mean()
    assert trained.metrics["val/mse"] == pytest.approx(float(error), rel=1e-4)
    assert info.training["strength"] == 0.1 and info.architecture["layers"] == []


def _is_train(key, store):
    from dvt.training.data import split_by_share

    train, _ = split_by_share(list(store), 0.05)
    return list(store).index(key) in train


def test_the_validation_images_choose_the_strength(ridge, tmp_path):
    ridge(tmp_path / "out", layers=[], ridge=RidgeConfig(strengths=[100.0, 1e-3, 10.0]))
    assert load_denoiser(tmp_path / "out").info.training["strength"] == 1e-3


def test_stopped_and_started_again_it_gives_the_same_weights(ridge, tmp_path):
    def stop():
        raise KeyboardInterrupt

    ridge(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        ridge(tmp_path / "parts", reporter=ActAt(9, stop, unit="images"))
    assert not (tmp_path / "parts" / "config.json").exists()
    ridge(tmp_path / "parts")
    one, other = (read_model_folder(tmp_path / name)[0] for name in ("whole", "parts"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_can_be_exported(ridge, tmp_path, vit):
    ridge(tmp_path / "out")
    model, _ = load_denoised(weights=tmp_path / "out", device="cpu")
    images = torch.rand(2, 3, 160, 160)
    patches, _ = fixed_size(model)(images)
    assert torch.allclose(patches, model(images).patches, atol=1e-4)
    with pytest.raises(WeightsError, match="this denoiser is a linear layer"):
        convert(tmp_path / "out", tmp_path / "original.pth")


def test_too_few_patches_are_refused(ridge, tmp_path):
    with pytest.raises(TrainingError, match=r"9 training images of 100 patches .* 1152 inputs: give 12"):
        ridge(tmp_path / "out", layers="all")


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"raw": Raw.recomputed}, "each image as it is, seen once: give pairs.raw=computed or stored"),
        ({"resume": "some.ckpt"}, "has no checkpoints: leave out resume=some.ckpt"),
        ({"trainer": TrainerConfig(accelerator="cpu", devices=2)}, "in one process: leave out trainer=ddp"),
        ({"layers": [5]}, r"denoiser.layers=\[5\]: give blocks before block 5"),
        ({"raw": Raw.stored}, "a store holds the features of one block only"),
    ],
)
def test_options_without_meaning_are_refused(ridge, tmp_path, wrong, text):
    with pytest.raises(ConfigError, match=text):
        ridge(tmp_path / "out", **wrong)


def test_strengths_are_above_zero_and_a_store_is_needed(options, vit, photos, tmp_path):
    for wrong in ([], [0.0], [-1.0, 1.0]):
        with pytest.raises(ConfigError, match=r"ridge\.strengths"):
            RidgeConfig(strengths=wrong)
    config = options(denoiser=DenoiserConfig(kind=Kind.linear))
    with pytest.raises(ConfigError, match=r"recipe=ridge\) needs a store"):
        train_from_images(photos, tmp_path / "out", vit, config)
