"""Reading the blocks of a real ViT, and what is drawn and reported of it."""

import numpy as np
import pytest
import torch

from dvt.backbone.load import load_backbone
from dvt.diagnosis.config import DoctorConfig
from dvt.diagnosis.environment import machine_report
from dvt.diagnosis.examine import examine
from dvt.diagnosis.figure import draw_examination, painted
from dvt.diagnosis.layers import BackboneReader, spread_blocks
from dvt.errors import ConfigError, EvaluationError, ImageError


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("vit_tiny_patch16_224", weights="random", image_size=64, device="cpu")


@pytest.fixture
def images():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_all_blocks_before_the_norm_and_the_output_after_it(backbone, images):
    reader = BackboneReader(backbone)
    maps = reader(images)
    assert [layer.name for layer in reader.layers] == [*(f"block {n}" for n in range(12)), "block 11 + norm"]
    assert [layer.late for layer in reader.layers] == [False] * 8 + [True] * 5
    tokens = backbone.vit.forward_intermediates((images - 0.5) / 0.5, output_fmt="NLC", intermediates_only=True)
    for found, expected in zip(maps[:-1], tokens, strict=True):
        torch.testing.assert_close(found, expected.unflatten(1, (4, 4)))
    torch.testing.assert_close(maps[-1], backbone(images).patches)
    torch.testing.assert_close(backbone.vit.norm(maps[-2]), maps[-1])


def test_some_blocks(backbone, images):
    reader = BackboneReader(backbone, [11, 3, 3])
    assert [layer.name for layer in reader.layers] == ["block 3", "block 11", "block 11 + norm"]
    everything = BackboneReader(backbone)(images)
    for found, place in zip(reader(images), (3, 11, 12), strict=True):
        assert torch.equal(found, everything[place])


def test_early_blocks_alone_are_judged(backbone):
    layers = BackboneReader(load_backbone("vit_tiny_patch16_224", weights="random", image_size=64, norm=False), [2, 3])
    assert [(layer.name, layer.late) for layer in layers.layers] == [("block 2", False), ("block 3", True)]


def test_of_a_deep_vit_twelve_are_looked_at():
    assert spread_blocks(23) == list(range(1, 24, 2)) and spread_blocks(2) == [0, 1, 2]
    assert len(spread_blocks(39)) == 12 and spread_blocks(39)[-1] == 39


@pytest.mark.parametrize("blocks", [[12], [-1], []])
def test_blocks_that_are_not_there(backbone, blocks):
    with pytest.raises(ConfigError, match="give blocks from 0 to 11"):
        BackboneReader(backbone, blocks)


def test_batches_do_not_matter(backbone, photos):
    one, other = (
        examine(BackboneReader(backbone, [11]), photos, DoctorConfig(num_images=16, batch_size=size))
        for size in (3, 16)
    )
    for first, second in zip(one.reports, other.reports, strict=True):
        assert first.numbers() == pytest.approx(second.numbers(), rel=1e-3, abs=1e-4, nan_ok=True)


def test_too_few_pictures(backbone, photos):
    with pytest.raises(ImageError, match="found 5"):
        examine(BackboneReader(backbone), photos[:5])


def test_features_that_are_not_finite_are_named(photos):
    from planted_reader import PlantedReader

    with pytest.raises(EvaluationError, match="features of planted, block 4 are not all finite"):
        examine(PlantedReader(block4=lambda maps, _: maps / 0), photos)


def test_the_picture_shows_a_column_for_every_layer(examined, plant):
    clean, ill = (examined(**changes) for changes in ({}, {"output": plant["corners"](20.0)}))
    pictures = [np.asarray(draw_examination(*each)) for each in (clean, ill)]
    assert pictures[0].shape[1] == pictures[1].shape[1] > 800 and pictures[0].dtype == np.uint8
    yellow = [
        ((picture[..., 0] > 240) & (picture[..., 1] > 240) & (picture[..., 2] < 180)).sum() for picture in pictures
    ]
    report = ill[0].reports[-1]
    assert float(painted(report, "norm").median()) == pytest.approx(1.0, abs=0.1)
    assert float(painted(report, "norm")[0, 0]) == pytest.approx(20 / report.outliers.median, rel=1e-3)
    assert yellow[1] > yellow[0] + 200  # the corners, in the norms and in the outliers


def test_the_report_of_the_machine():
    report = machine_report()
    assert report["torch"].startswith(torch.__version__) and report["cores"][0].isdigit()
    assert {"dvt", "python", "timm", "lightning", "cuda", "memory", "tinycudann", "processor"} <= set(report)
    assert report["tinycudann"].endswith("(optional)")
    assert all(value and "\n" not in value for value in report.values())
