"""Retrieval as a task: class folders, descriptors, notes, refusals."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from mean_colours import MeanColours
from PIL import Image
from recorder import Recorder

import dvt
from dvt.backbone.features import Features
from dvt.errors import ConfigError, EvaluationError, ImageError
from dvt.evaluation.config.retrieval import Pooling, RetrievalConfig
from dvt.evaluation.datasets.class_folders import find_class_folders, shared_out
from dvt.evaluation.probes.image_ranking import pool
from dvt.evaluation.tasks.retrieval import Retrieval, central_part
from dvt.grid import PatchGrid
from dvt.methods.method import OnePass

COLOURS = {"blue": (40, 60, 200), "green": (60, 180, 60), "red": (200, 50, 40)}


def save(path, colour, seed, hw=(32, 40)):
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    noisy = np.array(colour) + rng.integers(-25, 26, 3) + rng.integers(-9, 10, (*hw, 3))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)


def write_classes(root, counts, start=0):
    """PNGs called 00.png and so on, so many of every class."""
    for index, (name, count) in enumerate(counts.items()):
        for number in range(count):
            save(root / name / f"{number:02d}.png", COLOURS[name], start + 100 * index + number)
    return root


def write_split(root, train=6, val=3):
    write_classes(root / "train", dict.fromkeys(COLOURS, train))
    write_classes(root / "val", dict.fromkeys(COLOURS, val), start=5000)
    return root


def retrieval(root, **options):
    return Retrieval(RetrievalConfig(**({"num_neighbours": 4, "image_size": 32} | options)), root)


def test_colours_find_their_class(tmp_path):
    task, recorder = retrieval(write_split(tmp_path), pooling=[*Pooling]), Recorder()
    scores = task.evaluate(MeanColours(), recorder)
    assert [metric.name for metric in task.metrics] == list(scores.values)
    for label in ("mean", "GeM", "class token"):
        assert all(scores.values[f"{name} {label}"] == (100.0,) for name in ("top-1", "recall@1", "recall@10", "mAP"))
        assert math.isfinite(scores.values[f"KoLeo {label}"][0])
    assert scores.details["top-1 by class"]["mean"] == dict.fromkeys(COLOURS, 100.0)
    assert scores.notes == () and recorder.works == [["images", 27, 27]]
    protocol = json.loads(json.dumps(task.protocol))
    assert (protocol["queries"], protocol["database"], protocol["classes"]) == (9, 18, 3)
    assert next(metric for metric in task.metrics if "KoLeo" in metric.name).higher_is_better is None


def test_wrong_neighbours_are_counted_as_wrong(tmp_path):
    """One of the three red queries is blue."""
    write_split(tmp_path)
    save(tmp_path / "val/red/01.png", COLOURS["blue"], 9)
    scores = retrieval(tmp_path).evaluate(MeanColours())
    assert scores.values["top-1 mean"][0] == pytest.approx(100 * 8 / 9)
    assert scores.values["recall@5 mean"][0] == pytest.approx(100 * 8 / 9)
    assert scores.values["recall@10 mean"][0] > scores.values["recall@5 mean"][0] - 1e-9
    assert scores.details["top-1 by class"]["mean"]["red"] == pytest.approx(200 / 3)


def test_one_folder_is_searched_without_the_query_itself(tmp_path):
    task = retrieval(write_classes(tmp_path, {"blue": 5, "green": 5, "red": 1}))
    scores = task.evaluate(MeanColours())
    assert task.protocol["queries"] == 10 and task.protocol["database"] == "the other 10"
    assert scores.values["recall@1 mean"] == (100.0,) and scores.values["mAP mean"] == (100.0,)
    assert scores.notes == ("classes with one image are searched but not asked for: red",)
    assert "red" not in scores.details["top-1 by class"]["mean"]


def test_koleo_is_that_of_the_database(tmp_path):
    split, alone = (retrieval(each).evaluate(MeanColours()) for each in (write_split(tmp_path), tmp_path / "train"))
    assert split.values["KoLeo mean"][0] == pytest.approx(alone.values["KoLeo mean"][0])


def test_a_missing_class_token_has_no_value(tmp_path):
    scores = retrieval(write_split(tmp_path)).evaluate(
        MeanColours(give=lambda found: replace(found, prefix=found.prefix[:, :0]))
    )
    assert scores.values["top-1 mean"] == (100.0,)
    assert math.isnan(scores.values["top-1 class token"][0]) and math.isnan(scores.values["KoLeo class token"][0])
    assert scores.notes == ("the features have no class token: there are no values for it",)


def test_equal_descriptors_are_noted(tmp_path):
    write_split(tmp_path)
    (tmp_path / "train/red/01.png").write_bytes((tmp_path / "train/red/00.png").read_bytes())
    scores = retrieval(tmp_path).evaluate(MeanColours())
    assert scores.notes[0] == "KoLeo mean leaves out 2 images that share their descriptor with another"


def test_images_are_taken_evenly_from_the_classes(tmp_path):
    write_split(tmp_path)
    found = find_class_folders(RetrievalConfig(num_train=8, num_test=3), tmp_path)
    names = [f"{each.path.parent.name}/{each.path.name}" for each in found.database]
    assert names[:2] == ["blue/00.png", "blue/03.png"] and names[2:5] == [f"green/0{n}.png" for n in (0, 2, 4)]
    assert [each.label for each in found.queries] == [0, 1, 2] and found.class_names == tuple(COLOURS)


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [((9, 9, 9), 6, (2, 2, 2)), ((9, 9, 9), 7, (2, 2, 3)), ((9, 1, 9), 9, (4, 1, 4)), ((2, 3, 4), 9, (2, 3, 4))],
)
def test_shares_are_as_even_as_sizes_allow(sizes, count, expected):
    shares = shared_out(dict(zip("abc", sizes, strict=True)), count)
    assert tuple(shares[name] for name in "abc") == expected


def test_missing_folders_are_named_with_the_layout(tmp_path):
    with pytest.raises(EvaluationError, match=r"is not a folder\. Expected <data>/train/<class>/"):
        retrieval(tmp_path / "nothing")
    with pytest.raises(EvaluationError, match="holds 0 class folders; at least 2"):
        retrieval(tmp_path)
    write_classes(tmp_path / "train", {"red": 2, "blue": 2})
    with pytest.raises(EvaluationError, match="has train/ but no val/"):
        retrieval(tmp_path)


def test_a_class_that_only_train_has_is_searched_and_noted(tmp_path):
    write_split(tmp_path)
    shutil.rmtree(tmp_path / "val/red")
    task = retrieval(tmp_path)
    scores = task.evaluate(MeanColours())
    assert scores.notes == ("1 class is in train/ but not in val/ (searched but not asked for): red",)
    assert (task.protocol["queries"], task.protocol["database"]) == (6, 18)
    assert set(scores.details["top-1 by class"]["mean"]) == {"blue", "green"}


def test_a_class_that_only_val_has_is_left_out_of_the_means_and_noted(tmp_path):
    write_split(tmp_path)
    for name in ("cyan", "pink"):
        shutil.copytree(tmp_path / "val/red", tmp_path / "val" / name)
    task = retrieval(tmp_path)
    scores = task.evaluate(MeanColours())
    assert scores.notes == (
        "2 classes are in val/ but not in train/ (left out of all means, there is nothing to find): cyan, pink",
    )
    assert task.protocol["queries"] == 9 and scores.values["top-1 mean"] == (100.0,)
    assert set(scores.details["top-1 by class"]["mean"]) == set(COLOURS)
    with pytest.raises(EvaluationError, match="num_test=10, but there are 9 images in 3 classes"):
        retrieval(tmp_path, num_test=10)


def test_no_class_in_common_is_refused(tmp_path):
    write_split(tmp_path)
    for name in COLOURS:
        (tmp_path / "val" / name).rename(tmp_path / "val" / f"dark {name}")
    with pytest.raises(EvaluationError, match=r"none of the 3 classes in .*val \(dark blue, .*\) is among the 3 in"):
        retrieval(tmp_path)


def test_other_faults_of_the_data_are_refused(tmp_path):
    write_split(tmp_path)
    with pytest.raises(EvaluationError, match="num_neighbours=20, but only 18 images are searched"):
        retrieval(tmp_path, num_neighbours=20)
    with pytest.raises(EvaluationError, match="num_train=2, but there are 18 images in 3 classes: give 3 to 18"):
        retrieval(tmp_path, num_train=2)
    with pytest.raises(EvaluationError, match="num_test=10, but there are 9 images"):
        retrieval(tmp_path, num_test=10)
    save(tmp_path / "train/loose.png", COLOURS["red"], 0)
    with pytest.raises(EvaluationError, match=r"1 images outside of class folders, such as loose\.png"):
        retrieval(tmp_path)
    (tmp_path / "train/loose.png").unlink()
    (tmp_path / "train/empty").mkdir()
    with pytest.raises(ImageError, match="empty is empty"):
        retrieval(tmp_path)


def test_one_folder_refuses_options_without_effect(tmp_path):
    write_classes(tmp_path, {"blue": 1, "red": 1})
    with pytest.raises(ConfigError, match=r"num_train=1: .* Give num_test alone"):
        retrieval(tmp_path, num_train=1)
    with pytest.raises(EvaluationError, match="every class has one image"):
        retrieval(tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"pooling": []}, {"pooling": [Pooling.gem, Pooling.gem]}, {"num_neighbours": 0}, {"num_test": 0},
     {"gem_power": 0.0}, {"temperature": -1.0}, {"train": "val"}, {"val": ""}],
)  # fmt: skip
def test_invalid_options_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        RetrievalConfig(**options)


def test_an_invalid_image_size_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="image_size='large'"):
        retrieval(write_split(tmp_path), image_size="large")


def features(patches, prefix=None):
    count = len(patches)
    prefix = torch.zeros(count, 0, patches.shape[-1]) if prefix is None else prefix
    height, width = patches.shape[1:3]
    return Features(patches=patches, prefix=prefix, grid=PatchGrid.of((8 * height, 8 * width), 8))


def test_poolings_by_hand():
    maps = torch.tensor([[[[1.0, -2.0], [3.0, 0.0]]]])
    assert pool(features(maps), Pooling.mean, 3.0).tolist() == [[2.0, -1.0]]
    gem = pool(features(maps), Pooling.gem, 3.0)
    assert gem[0, 0] == pytest.approx(((1 + 27) / 2) ** (1 / 3)) and 0 < gem[0, 1] < 2e-6
    positive = torch.rand(2, 3, 4, 5) + 0.1
    torch.testing.assert_close(pool(features(positive), Pooling.gem, 1.0), pool(features(positive), Pooling.mean, 3.0))
    large = pool(features(positive), Pooling.gem, 60.0)
    torch.testing.assert_close(large, positive.amax(dim=(1, 2)), rtol=0.06, atol=0)
    assert pool(features(maps), Pooling.class_token, 3.0) is None
    prefix = torch.tensor([[[5.0, 6.0], [7.0, 8.0]]])
    assert pool(features(maps, prefix), Pooling.class_token, 3.0).tolist() == [[5.0, 6.0]]


def test_the_central_part_has_the_aspect_of_the_image_size():
    image = torch.rand(3, 30, 50)
    assert torch.equal(central_part(image, (224, 224)), image[:, :, 10:40])
    assert central_part(image, (32, 64)).shape == (3, 25, 50)
    assert torch.equal(central_part(image[:, :, :30], (16, 16)), image[:, :, :30])


@pytest.mark.parametrize(("crop", "shape"), [(False, (32, 40)), (True, (32, 32))])
def test_cropped_or_whole_images_reach_the_method(tmp_path, crop, shape):
    method = MeanColours()
    retrieval(write_split(tmp_path, train=2, val=1), crop=crop).evaluate(method)
    assert method.shapes == {shape}


def test_a_real_vit_goes_through(tmp_path):
    backbone = dvt.load_backbone("vit_tiny_patch16_224", weights="random", image_size=32)
    task = retrieval(write_split(tmp_path, train=2, val=1), pooling=[*Pooling])
    first, second = (task.evaluate(OnePass("raw", backbone)) for _ in range(2))
    assert first == second and all(math.isfinite(value) for (value,) in first.values.values())
