"""The paper's protocol: crops, colours, windows, head, and all of it on features that are known."""

import colorsys
import math

import pytest
import torch
from mean_colours import MeanColours
from recorder import Recorder
from tiny_camvid import write_camvid
from torch.nn import functional

from dvt.errors import EvaluationError
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.config.segmentation import LinearProtocol, LinearSegmentationConfig, WindowsConfig
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.datasets.training_crops import (
    PAD_COLOUR,
    TrainingCrops,
    distort,
    pad_image,
    saturate,
    scaled_hw,
    training_crop,
)
from dvt.evaluation.probes.window_probe import (
    BatchNormHead,
    Windowed,
    learning_rate_factor,
    pixel_loss,
    train_head,
    window_logits,
    window_starts,
)
from dvt.evaluation.tasks.linear_segmentation import LinearSegmentation
from dvt.methods.cache import Cached, without_cache
from dvt.progress import SILENT

STILL = {"min_scale": 1.0, "max_scale": 1.0, "flip": 0.0, "distortion": 0.0}
"""Nothing is drawn but the place of a crop."""
TINY = {"size": 36, "stride": 24, "short_side": 40, "long_side": 160, "batch_size": 4, "warmup_steps": 2}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def coordinates(height, width):
    """A picture whose red is x and green is y, and labels that number the pixels."""
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)]), torch.arange(height * width).reshape(height, width)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_pixels_and_labels_of_a_crop_stay_together(flip):
    picture, target = coordinates(40, 50)
    config = WindowsConfig(**{**TINY, **STILL, "flip": flip})
    crop, labels = training_crop(picture, target, config, generator())
    assert crop.shape == (3, 36, 36) and labels.shape == (36, 36)
    torch.testing.assert_close(crop[0], (labels % 50) / 50)
    torch.testing.assert_close(crop[1], (labels // 50) / 40)
    assert bool((labels[:, 1:] > labels[:, :-1]).all()) == (flip == 0.0)


def test_what_is_beyond_the_edge_has_no_class():
    picture, target = coordinates(40, 50)
    config = WindowsConfig(**{**TINY, **STILL, "short_side": 16, "max_scale": 1.0})
    crop, labels = training_crop(picture, target, config, generator())
    assert labels[:16, :20].min() >= 0
    assert (labels[16:] == -1).all() and (labels[:, 20:] == -1).all()
    torch.testing.assert_close(crop[:, 16:].unique(dim=1).flatten(1)[:, 0], torch.tensor(PAD_COLOUR))


def test_a_crop_of_one_class_is_drawn_again_and_taken_in_the_end():
    picture, target = torch.rand(3, 36, 400), torch.zeros(36, 400, dtype=torch.int64)
    target[:, :36] = torch.arange(36)  # stripes, at the left end alone
    config = WindowsConfig(**{**TINY, **STILL, "short_side": 36, "long_side": 400, "max_draws": 200})
    assert all(len(training_crop(picture, target, config, generator(seed))[1].unique()) > 8 for seed in range(5))
    crop = training_crop(picture, torch.zeros_like(target), config, generator())
    assert crop[1].unique().tolist() == [0]
    once = WindowsConfig(**{**TINY, **STILL, "short_side": 36, "long_side": 400, "max_draws": 1})
    assert any(len(training_crop(picture, target, once, generator(seed))[1].unique()) == 1 for seed in range(5))


def test_a_picture_keeps_its_aspect_within_both_sides():
    assert scaled_hw(torch.zeros(3, 360, 480), 512, 2048) == (512, 683)
    assert scaled_hw(torch.zeros(3, 100, 1000), 512, 2048) == (205, 2048)
    assert scaled_hw(torch.zeros(3, 1, 1000), 10, 100) == (1, 100)


def test_scales_are_drawn_between_their_bounds():
    picture, target = torch.rand(3, 64, 64), torch.zeros(64, 64, dtype=torch.int64)
    config = WindowsConfig(size=200, stride=100, short_side=64, flip=0.0, distortion=0.0)
    sides = [int((training_crop(picture, target, config, generator(seed))[1][0] >= 0).sum()) for seed in range(60)]
    assert min(sides) >= 32 and max(sides) <= 128 and max(sides) - min(sides) > 60


def test_saturation_is_that_of_hsv():
    picture = torch.rand(3, 1, 40, generator=generator())
    picture[:, 0, 0] = 0.3  # grey stays grey
    for factor in (0.0, 0.5, 1.0, 1.7):
        found = saturate(picture, factor)[:, 0].T.tolist()
        for colour, other in zip(picture[:, 0].T.tolist(), found, strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*colour)
            assert other == pytest.approx(colorsys.hsv_to_rgb(hue, min(1.0, saturation * factor), value), abs=1e-5)


@pytest.mark.parametrize("only", ["brightness", "contrast", "saturation", "hue"])
def test_each_change_of_colour_can_happen_alone(only):
    strengths = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0)
    config = WindowsConfig(distortion=1.0, **(strengths | {only: 0.2}))
    grey, colours = torch.full((3, 2, 2), 0.4), torch.rand(3, 4, 4, generator=generator()) * 0.5 + 0.2
    changed, of_grey = distort(colours, config, generator(1)), distort(grey, config, generator(1))
    assert not torch.allclose(changed, colours, atol=1e-3)
    assert 0 <= changed.min() and changed.max() <= 1
    assert torch.allclose(of_grey, grey, atol=1e-6) == (only in ("saturation", "hue"))
    if only == "hue":  # saturation and value stay
        for before, after in zip(colours.flatten(1).T.tolist(), changed.flatten(1).T.tolist(), strict=True):
            assert colorsys.rgb_to_hsv(*after)[1:] == pytest.approx(colorsys.rgb_to_hsv(*before)[1:], abs=1e-4)


def test_contrast_comes_once_before_the_colours_or_after_them():
    strengths = dict.fromkeys(("brightness", "saturation", "hue"), 0.0)
    config = WindowsConfig(distortion=1.0, contrast=0.2, **strengths)
    colours = torch.rand(3, 4, 4, generator=generator()) * 0.5 + 0.1
    ratios = [distort(colours, config, generator(seed)) / colours for seed in range(40)]
    assert all(ratio.max() - ratio.min() < 1e-4 for ratio in ratios)
    assert 0.8 <= min(ratio.min() for ratio in ratios) < 0.83
    assert 1.17 < max(ratio.max() for ratio in ratios) <= 1.2001


def test_no_probability_no_change():
    picture = torch.rand(3, 4, 4)
    assert torch.equal(distort(picture, WindowsConfig(distortion=0.0), generator()), picture)


def some_samples(count=3, hw=(40, 56)):
    return [
        Sample(str(number), torch.rand(3, *hw), torch.randint(-1, 4, hw, generator=generator(number)))
        for number in range(count)
    ]


def test_crops_depend_on_seed_and_number_alone():
    samples = some_samples()
    config = WindowsConfig(**TINY, num_steps=3)
    crops, again = TrainingCrops(samples, config, 0), TrainingCrops(samples, config, 0)
    assert len(crops) == 12
    for index in (11, 0, 5):  # in another order
        assert all(torch.equal(a, b) for a, b in zip(crops[index], again[index], strict=True))
    assert not torch.equal(crops[0][0], TrainingCrops(samples, config, 1)[0][0])
    assert sorted(crops.image_number(index) for index in range(3, 6)) == [0, 1, 2]
    with pytest.raises(IndexError):
        crops[12]


def test_the_learning_rate_rises_and_falls():
    config = WindowsConfig(num_steps=100, warmup_steps=10, learning_rate=1.0, warmup_start=0.1)
    rates = [learning_rate_factor(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[5] == pytest.approx(0.95 * 0.55)
    assert rates[10] == pytest.approx(0.9) and rates[50] == pytest.approx(0.5) and rates[100] == 0.0
    assert learning_rate_factor(0, WindowsConfig(warmup_steps=0)) == 1.0


def test_the_loss_is_a_mean_over_labelled_pixels():
    logits, targets = torch.randn(2, 3, 4, 5), torch.randint(-1, 3, (2, 4, 5), generator=generator())
    expected = functional.cross_entropy(logits.permute(0, 2, 3, 1)[targets >= 0], targets[targets >= 0])
    torch.testing.assert_close(pixel_loss(logits, targets), expected)
    assert float(pixel_loss(logits, torch.full_like(targets, -1))) == 0.0


def test_the_pad_of_a_window_is_cut_off_again():
    method = MeanColours(patch=8)
    windowed = Windowed(method, 36)
    assert windowed.side == 40 and method.seen == []
    window = coordinates(36, 36)[0]
    features = windowed([window])
    expected = MeanColours(patch=8)([pad_image(window, (2, 2, 2, 2))], (40, 40))
    assert torch.equal(features.patches, expected.patches)
    read = windowed.at_pixels(features.patches, features.grid, 36, 36)[0]
    inner = slice(10, 26)  # between patches that have no pad in them
    torch.testing.assert_close(read[:2, inner, inner], window[:2, inner, inner], atol=1e-4, rtol=0)


def test_padding_surrounds_and_keeps_the_picture():
    picture = torch.rand(3, 4, 5)
    padded = pad_image(picture, (1, 2, 3, 0))
    assert padded.shape == (3, 7, 8) and torch.equal(padded[:, 3:, 1:6], picture)
    torch.testing.assert_close(padded[:, 0, 0], torch.tensor(PAD_COLOUR))


@pytest.mark.parametrize(
    ("length", "starts"), [(512, [0]), (300, [0]), (513, [0, 1]), (853, [0, 341]), (854, [0, 341, 342])]
)
def test_windows_reach_from_edge_to_edge(length, starts):
    assert window_starts(length, 512, 341) == starts


class Colours(torch.nn.Module):
    """A head that hands the features on."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)

    def forward(self, maps):
        return maps


@pytest.mark.other_types  # Colours stands for a head
def test_scores_of_windows_are_averaged_where_they_overlap():
    """On a picture that is linear in the place, the inside of every window gives the picture back."""
    config = WindowsConfig(size=40, stride=24, short_side=40, long_side=160)
    picture = coordinates(40, 120)[0]
    windowed = Windowed(MeanColours(patch=8), 40)
    (scores,) = window_logits(windowed, [Colours()], picture, config)
    assert scores.shape == (3, 40, 120)
    torch.testing.assert_close(scores[1, 4:36], picture[1, 4:36], atol=1e-4, rtol=0)
    parts = [
        windowed.at_pixels(each.patches, each.grid, 40, 40)[0]
        for each in (windowed([picture[:, :, left : left + 40]]) for left in (0, 24, 48, 72, 80))
    ]
    torch.testing.assert_close(scores[:, :, 20], parts[0][:, :, 20])
    torch.testing.assert_close(scores[:, :, 30], (parts[0][:, :, 30] + parts[1][:, :, 6]) / 2)
    torch.testing.assert_close(scores[:, :, 90], (parts[3][:, :, 18] + parts[4][:, :, 10]) / 2)


def test_a_head_normalises_by_the_batch_and_then_by_what_it_saw():
    head = BatchNormHead(3, 4, seed=0)
    maps = torch.randn(2, 5, 6, 3) * 7 + 3
    assert head(maps).shape == (2, 5, 6, 4)
    torch.testing.assert_close(head.norm.running_mean, 0.1 * maps.mean(dim=(0, 1, 2)))
    assert torch.equal(head.linear.weight, BatchNormHead(3, 4, seed=0).linear.weight)
    assert not torch.equal(head.linear.weight, BatchNormHead(3, 4, seed=1).linear.weight)


def test_workers_change_nothing():
    samples, windowed = some_samples(), Windowed(MeanColours(), 36)
    heads = [
        train_head(windowed, samples, 4, WindowsConfig(**TINY, num_steps=3, num_workers=workers), 0, SILENT)
        for workers in (0, 1)
    ]
    assert torch.equal(heads[0][0].linear.weight, heads[1][0].linear.weight)
    assert heads[0][1] == heads[1][1] == frozenset(range(4)) and not heads[0][0].training


def test_training_that_fails_says_so():
    windowed, config = Windowed(MeanColours(), 36), WindowsConfig(**TINY, num_steps=2)
    void = [Sample("void", torch.rand(3, 40, 56), torch.full((40, 56), -1))]
    with pytest.raises(EvaluationError, match=r"no pixel of 1 training images has a class"):
        train_head(windowed, void, 4, config, 0, SILENT)
    with pytest.raises(EvaluationError, match=r"diverged with windows\.learning_rate=1e\+37"):
        train_head(windowed, some_samples(), 4, WindowsConfig(**TINY, num_steps=4, learning_rate=1e37), 0, SILENT)


def test_the_whole_protocol_tells_colours_apart(tmp_path):
    write_camvid(tmp_path, classes=(0, 1, 3))
    windows = WindowsConfig(**{**TINY, "distortion": 0.0}, num_steps=25, learning_rate=0.1)
    layouts = [Layout.usual, Layout.upside_down]
    config = LinearSegmentationConfig(protocol=LinearProtocol.windows, windows=windows, layouts=layouts, seeds=2)
    task, recorder = LinearSegmentation(config, tmp_path), Recorder()
    scores = task.evaluate(MeanColours(patch=8), recorder)
    names = ["mIoU", "mAcc", "aAcc", "mIoU upside down", "mAcc upside down", "aAcc upside down"]
    assert list(scores.values) == [metric.name for metric in task.metrics] == names
    assert all(len(values) == 2 for values in scores.values.values())
    assert min(scores.values["aAcc"]) > 70 and scores.values["aAcc upside down"] == pytest.approx(
        scores.values["aAcc"], abs=8
    )
    assert task.protocol["size"] == 36 and task.protocol["protocol"] == "windows"
    assert recorder.works == [["steps", 25, 25]] * 2 + [["images", 3, 3]] * 2
    assert not any(math.isnan(value) for values in scores.values.values() for value in values)


def test_training_crops_are_not_kept(tmp_path):
    write_camvid(tmp_path / "data", classes=(0, 1))
    method = Cached(MeanColours(), tmp_path / "cache")
    assert without_cache(method) is without_cache(without_cache(method)) is not method
    windows = WindowsConfig(**TINY, num_steps=10)
    config = LinearSegmentationConfig(protocol=LinearProtocol.windows, windows=windows, seeds=1, layouts=[Layout.usual])
    LinearSegmentation(config, tmp_path / "data").evaluate(method)
    kept = list((tmp_path / "cache").rglob("*.safetensors"))
    assert 0 < len(kept) <= 3 * 4  # windows of the three test pictures
