"""Label propagation against a loop over patches, and VideoSegmentation from the data root to the scores."""

import json
import math
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
import torch
from mean_colours import MeanColours, constant
from omegaconf import OmegaConf
from PIL import Image
from recorder import Recorder

import dvt
from dvt.cli.help import attribute_docs
from dvt.errors import ConfigError, EvaluationError
from dvt.evaluation.config.video import VideoSegmentationConfig
from dvt.evaluation.datasets.masks import read_mask
from dvt.evaluation.probes.label_propagation import LabelPropagation
from dvt.evaluation.task import Task
from dvt.evaluation.tasks.video_segmentation import VideoSegmentation, objects_to_follow, patch_labels, resized_hw
from dvt.grid import PatchGrid
from dvt.methods.method import OnePass

HW = (64, 96)
RED, GREEN, BLUE = (230, 40, 40), (40, 230, 40), (40, 40, 230)


def write_video(root, name, objects, count=6, palette=False, hw=HW):
    """Squares of 16 px that move 4 px a frame over blue; objects: colour and first (top, left) of each."""
    frames, masks = root / "JPEGImages/480p" / name, root / "Annotations/480p" / name
    frames.mkdir(parents=True)
    masks.mkdir(parents=True)
    for number in range(count):
        image, mask = np.full((*hw, 3), BLUE, np.uint8), np.zeros(hw, np.uint8)
        for index, (colour, (top, left)) in enumerate(objects, start=1):
            box = slice(top, top + 16), slice(left + 4 * number, left + 4 * number + 16)
            image[box], mask[box] = colour, index if palette else 255
        Image.fromarray(image).save(frames / f"{number:05}.png")
        saved = Image.fromarray(mask)
        if palette:
            saved.putpalette(bytes(range(256)) * 3)
        saved.save(masks / f"{number:05}.png")
    return root


def task(root, **options):
    return VideoSegmentation(VideoSegmentationConfig(**({"image_size": 64} | options)), root)


def reference_step(current, sources, labels, config):
    """DINO's rule, patch by patch: cosine similarity, neighbourhood in every frame, top k of all, softmax."""
    height, width, _ = current.shape
    found = torch.zeros(height, width, labels[0].shape[-1])
    for y in range(height):
        for x in range(width):
            candidates = []
            for frame, label in zip(sources, labels, strict=True):
                for v in range(height):
                    for u in range(width):
                        if max(abs(v - y), abs(u - x)) <= config.neighbourhood:
                            cosine = torch.cosine_similarity(current[y, x], frame[v, u], dim=0).item()
                            candidates.append((cosine, label[v, u]))
            best = sorted(candidates, key=lambda each: -each[0])[: config.top_k]
            weights = [math.exp(cosine / config.temperature) for cosine, _ in best]
            found[y, x] = sum(w * label for w, (_, label) in zip(weights, best, strict=True)) / sum(weights)
    return found


@pytest.mark.parametrize("neighbourhood, top_k, previous", [(1, 3, 2), (12, 5, 7), (0, 5, 1), (2, 1, 0)])
def test_labels_are_propagated_as_defined(neighbourhood, top_k, previous):
    rng = torch.Generator().manual_seed(0)
    frames = torch.randn(5, 4, 5, 6, generator=rng)
    config = VideoSegmentationConfig(neighbourhood=neighbourhood, top_k=top_k, previous_frames=previous)
    first = torch.rand(4, 5, 3, generator=rng).softmax(dim=-1)
    propagation, labels = LabelPropagation(frames[0], first, config), [first]
    for number in range(1, 5):
        kept = [0, *range(1, number)[-previous:]] if previous else [0]
        expected = reference_step(frames[number], frames[kept], [labels[k] for k in kept], config)
        labels.append(propagation.step(frames[number]))
        torch.testing.assert_close(labels[-1], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(labels[-1].sum(dim=-1), torch.ones(4, 5))


def test_many_patches_are_propagated_in_parts(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    frames, first = torch.randn(3, 6, 7, 4, generator=rng), torch.rand(6, 7, 2, generator=rng)
    found = []
    for rows in (512, 5):
        monkeypatch.setattr("dvt.evaluation.probes.label_propagation._ROWS_AT_ONCE", rows)
        propagation = LabelPropagation(frames[0], first, VideoSegmentationConfig(neighbourhood=2))
        found.append([propagation.step(each) for each in frames[1:]])
    torch.testing.assert_close(found[0], found[1])


def test_the_size_of_features_does_not_matter():
    rng = torch.Generator().manual_seed(0)
    frames, first = torch.randn(2, 3, 3, 4, generator=rng), torch.rand(3, 3, 2, generator=rng)
    one, other = (
        LabelPropagation(each[0], first, VideoSegmentationConfig()).step(each[1]) for each in (frames, 9 * frames)
    )
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("stride", [8, 4])
def test_labels_of_patches_are_shares_of_their_pixels(tmp_path, stride):
    values = np.zeros((16, 24), np.uint8)
    values[:8, :4], values[:8, 8:16] = 1, 2
    Image.fromarray(values).save(tmp_path / "mask.png")
    labels = patch_labels(read_mask(tmp_path / "mask.png"), (1, 2), PatchGrid.of((16, 24), 8, stride))
    assert labels.shape == ((2, 3, 3) if stride == 8 else (3, 5, 3))
    assert labels[0, 0].tolist() == [0.5, 0.5, 0] and labels[-1, -1].tolist() == [1, 0, 0]
    assert labels[0, 1].tolist() == ([0, 0, 1] if stride == 8 else [0.5, 0, 0.5])


def test_objects_that_the_features_tell_apart_are_followed(tmp_path):
    write_video(tmp_path, "one", [(RED, (16, 16))])
    write_video(tmp_path, "two", [(RED, (4, 8)), (GREEN, (40, 24))], palette=True)
    recorder, method = Recorder(), MeanColours(patch=4)
    scores = task(tmp_path).evaluate(method, recorder)
    # Upsampled from patches of 4 px, a square of 256 px loses the pixel at each corner.
    assert scores.values == {"J&F": ((100 + 98.4375) / 2,), "J": (98.4375,), "F": (100,)} and scores.notes == ()
    assert list(scores.details) == ["one", "two"] and scores.details["one"]["scored_frames"] == 4
    assert list(scores.details["two"]["objects"]) == ["1", "2"]
    assert recorder.works == [["frames", 8, 8]]
    assert method.seen == [5, 5]  # the last frame of each is not used


def test_features_without_information_lose_the_object(tmp_path):
    write_video(tmp_path, "one", [(RED, (16, 16))], count=12)
    assert task(tmp_path).evaluate(MeanColours(4, give=constant)).values["J&F"][0] < 50


def test_scores_are_means_over_objects_and_not_over_sequences(tmp_path):
    """Three objects, two of them in one video, under masks that do not move."""

    write_video(tmp_path, "one", [(RED, (16, 0))], count=4)
    write_video(tmp_path, "two", [(RED, (0, 0)), (GREEN, (32, 0))], palette=True, count=8)
    scores = task(tmp_path).evaluate(MeanColours(4, see=lambda images: [images[0]] * len(images)))
    each = [entry for name in ("one", "two") for entry in scores.details[name]["objects"].values()]
    assert len(each) == 3 and len({round(entry["J"]) for entry in each}) > 1
    for name in ("J", "F"):
        assert scores.values[name][0] == pytest.approx(sum(entry[name] for entry in each) / 3)
    assert scores.values["J&F"][0] == pytest.approx((scores.values["J"][0] + scores.values["F"][0]) / 2)
    # The mask of "one" has 254 px (the right corners are lost); the square, 4 px further each frame, has 256 px, of
    # which 12 and 8 columns are shared, without these corners.
    shared = [12 * 16 - 2, 8 * 16 - 2]
    assert scores.details["one"]["J"] == pytest.approx(50 * sum(px / (254 + 256 - px) for px in shared), abs=1e-6)


def test_a_real_vit(tmp_path):
    write_video(tmp_path, "one", [(RED, (16, 16))], count=4)
    backbone = dvt.load_backbone("vit_tiny_patch16_224", weights="random", image_size=64)
    one, other = (task(tmp_path).evaluate(OnePass("raw", backbone)) for _ in range(2))
    assert one == other and 0 <= one.values["J&F"][0] <= 100


def test_the_size_of_frames():
    given = VideoSegmentationConfig
    assert resized_hw((480, 854), given()) == (240, 427)
    assert resized_hw((480, 854), given(image_size=480)) == (480, 854)
    assert resized_hw((854, 480), given(image_size=120)) == (213, 120)
    assert resized_hw((480, 854), given(image_size=[224, 448])) == (224, 448)


def test_sides_are_rounded_down_to_the_patch(tmp_path):
    write_video(tmp_path, "one", [(RED, (16, 16))], count=3)
    method = MeanColours(patch=4)
    task(tmp_path, image_size=62).evaluate(method)
    assert method.sizes == {(60, 92)}


def test_masks_and_frames_of_other_sizes_are_named(tmp_path):
    write_video(tmp_path, "one", [(RED, (16, 16))])
    Image.new("L", (32, 32), 255).save(tmp_path / "Annotations/480p/one/00002.png")
    with pytest.raises(EvaluationError, match=r"00002.png has 32 x 32 px, the frames of one have 64 x 96\. Both"):
        task(tmp_path).evaluate(MeanColours())
    Image.new("L", (32, 32), 255).save(tmp_path / "Annotations/480p/one/00000.png")
    with pytest.raises(EvaluationError, match=r"00000.png has 32 x 32 px"):
        task(tmp_path).evaluate(MeanColours())
    write_video(tmp_path, "two", [(RED, (16, 16))])
    Image.new("RGB", (32, 32)).save(tmp_path / "JPEGImages/480p/two/00001.png")
    with pytest.raises(EvaluationError, match=r"00001.png has 32 x 32 px, the first frame of two has 64 x 96"):
        task(tmp_path, sequences=["two"]).evaluate(MeanColours())


def test_an_empty_first_mask_is_refused_before_any_work(tmp_path):
    write_video(tmp_path, "one", [])
    with pytest.raises(EvaluationError, match=r"one/00000.png, the first mask of its sequence, is empty"):
        task(tmp_path)


def test_a_first_mask_with_too_many_objects_is_refused(tmp_path):
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "mask.png")
    with pytest.raises(
        EvaluationError, match=r"254 different values besides 0 and 255. Expected one number per object"
    ):
        objects_to_follow(read_mask(tmp_path / "mask.png"))


def test_objects_that_come_later_are_noted_and_not_scored(tmp_path):
    write_video(tmp_path, "one", [(RED, (16, 16))], palette=True)
    for number, value in ((2, 7), (3, 255)):
        path = tmp_path / f"Annotations/480p/one/{number:05}.png"
        mask = np.array(Image.open(path))
        mask[:4, :4] = value
        Image.fromarray(mask).save(path)
    scores = task(tmp_path).evaluate(MeanColours(patch=4))
    assert scores.notes == ("one: later masks hold 7, which the first does not; not scored.",)
    assert scores.values["J"] == (98.4375,)


def test_the_protocol_is_plain_json(tmp_path):
    write_video(tmp_path, "one", [(RED, (16, 16))])
    made = task(tmp_path, image_size=None)
    assert isinstance(made, Task) and made.name == "video_segmentation"
    assert [metric.name for metric in made.metrics] == ["J&F", "J", "F"]
    assert json.loads(json.dumps(made.protocol)) == made.protocol
    assert made.protocol["sequences"] == ["one"] and made.protocol["image_size"] == 240
    assert made.protocol["scored_frames"] == 4 and made.protocol["objects"] == 1
    assert task(tmp_path, max_frames=4).protocol["scored_frames"] == 2


def test_every_option_is_documented_and_loads_without_torch():
    docs = attribute_docs(VideoSegmentationConfig)
    assert all(docs.get(entry.name, "").endswith(".") for entry in fields(VideoSegmentationConfig))
    code = "import sys, dvt.evaluation.config.video; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    given = OmegaConf.from_dotlist(["sequences=[dog,cat]", "image_size=[32,48]", "max_frames=5"])
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(VideoSegmentationConfig), given))
    assert config == VideoSegmentationConfig(sequences=["dog", "cat"], image_size=[32, 48], max_frames=5)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"max_frames": 2}, "max_frames=2: give at least 3"),
        ({"previous_frames": -1}, "previous_frames=-1: give at least 0"),
        ({"top_k": 0}, "top_k=0: give at least 1"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"sequences": ["a", "a"]}, r"sequences=\[a,a\]: give each once"),
    ],
)
def test_invalid_options_are_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        VideoSegmentationConfig(**options)


def test_an_invalid_image_size_is_refused_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="give one number of pixels, or two"):
        task(tmp_path, image_size="large")
