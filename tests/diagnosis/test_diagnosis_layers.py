"""The layers of a real ViT, and its diagnosis."""

import inspect

import pytest
import torch
from planted_model import PlantedModel

import dvt
from dvt.backbone.load import load_backbone
from dvt.diagnosis.config import DoctorConfig
from dvt.diagnosis.diagnose import diagnose_layers
from dvt.diagnosis.layers import BackboneLayers, layers_of, spread_blocks
from dvt.diagnosis.windows import Choice
from dvt.errors import BackboneError, ConfigError, EvaluationError, ImageError


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("vit_tiny_patch16_224", weights="random", image_size=64, device="cpu")


@pytest.fixture
def images():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_all_blocks_before_the_norm_and_the_output_after_it(backbone, images):
    model = BackboneLayers(backbone)
    maps = model(images)
    assert [layer.name for layer in model.layers] == [*(f"block {n}" for n in range(12)), "block 11 + norm"]
    assert [layer.late for layer in model.layers] == [False] * 8 + [True] * 5
    tokens = backbone.vit.forward_intermediates((images - 0.5) / 0.5, output_fmt="NLC", intermediates_only=True)
    for found, expected in zip(maps[:-1], tokens, strict=True):
        torch.testing.assert_close(found, expected.unflatten(1, (4, 4)))
    torch.testing.assert_close(maps[-1], backbone(images).patches)
    torch.testing.assert_close(backbone.vit.norm(maps[-2]), maps[-1])


def test_some_blocks(backbone, images):
    model = BackboneLayers(backbone, [11, 3, 3])
    assert [layer.name for layer in model.layers] == ["block 3", "block 11", "block 11 + norm"]
    everything = BackboneLayers(backbone)(images)
    for found, place in zip(model(images), (3, 11, 12), strict=True):
        assert torch.equal(found, everything[place])


def test_of_early_blocks_alone_the_last_is_judged():
    layers = BackboneLayers(load_backbone("vit_tiny_patch16_224", weights="random", image_size=64, norm=False), [2, 3])
    assert [(layer.name, layer.late) for layer in layers.layers] == [("block 2", False), ("block 3", True)]


def test_of_a_deep_vit_twelve_blocks_are_measured():
    assert spread_blocks(23) == list(range(1, 24, 2)) and spread_blocks(2) == [0, 1, 2]
    assert len(spread_blocks(39)) == 12 and spread_blocks(39)[-1] == 39


@pytest.mark.parametrize("blocks", [[12], [-1], []])
def test_blocks_that_do_not_exist(backbone, blocks):
    with pytest.raises(ConfigError, match="give blocks from 0 to 11"):
        BackboneLayers(backbone, blocks)


class Recorder:
    def __init__(self):
        self.calls = []

    def start(self, total, unit, task=""):
        self.calls.append([total, unit, task, 0])

    def advance(self, count=1, note=""):
        self.calls[-1][-1] += count

    def note(self, text):
        self.calls.append(text)

    def done(self):
        self.calls.append("done")


def test_batches_do_not_matter(backbone, photos):
    folder, recorder = photos[0].path.parent, Recorder()
    one = dvt.diagnose(backbone, folder, num_images=16, layers=[11], batch_size=3, reporter=recorder)
    other = dvt.diagnose(backbone, [file.path for file in photos], num_images=16, layers=[11], batch_size=16)
    for first, second in zip(one.reports, other.reports, strict=True):
        assert first.numbers() == pytest.approx(second.numbers(), rel=1e-3, abs=1e-4, nan_ok=True)
    assert recorder.calls == [[16, "images", "features", 16], [2, "layers", "scores", 2]]


def test_too_few_images(backbone, photos):
    with pytest.raises(ImageError, match="found 5"):
        dvt.diagnose(backbone, [file.path for file in photos[:5]])


def test_features_that_are_not_finite_are_named(photos):
    with pytest.raises(EvaluationError, match="planted, block 4 gives features that are NaN"):
        diagnose_layers(PlantedModel(block4=lambda maps, _: maps / 0), Choice(tuple(photos), {}), DoctorConfig())


def test_of_a_denoised_vit_the_output_is_measured(photos):
    denoised, _ = dvt.load_denoised(weights="vit_micro/denoiser", image_size=64)
    files = [file.path for file in photos]
    diagnosis = dvt.diagnose(denoised, files, num_images=16)
    assert diagnosis.model == denoised.full_name and [layer.normed for layer in diagnosis.layers] == [denoised.norm]
    with pytest.raises(ConfigError, match="the output alone is measured"):
        dvt.diagnose(denoised, files, layers=[5])


def test_other_objects_are_refused():
    with pytest.raises(BackboneError, match=r"give what dvt\.load_backbone"):
        inspect.unwrap(layers_of)("dinov2_base")  # without the type checks of the tests
