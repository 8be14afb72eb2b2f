"""LinearDepth from the data root to the scores, on images whose colours tell their depth."""

import json

import numpy as np
import pytest
import torch
from mean_colours import MeanColours
from PIL import Image
from recorder import Recorder

import dvt
from dvt.backbone.features import Features
from dvt.errors import ConfigError, EvaluationError, GeometryError
from dvt.evaluation.config.depth import (
    DepthDataset,
    DepthProtocol,
    HeadConfig,
    LinearDepthConfig,
    LossConfig,
    OptimizerConfig,
    PaperConfig,
    SevenScenesConfig,
)
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.datasets.samples import Sample
from dvt.evaluation.task import Task
from dvt.evaluation.tasks.linear_depth import LinearDepth, score_heads
from dvt.methods.method import OnePass

HW = (48, 64)
FIT = OptimizerConfig(num_steps=60, batch_size=4, learning_rate=0.1, warmup_steps=6)
SHORT_FIT = OptimizerConfig(num_steps=40, batch_size=4, learning_rate=0.1, warmup_steps=4)
GLANCE = OptimizerConfig(num_steps=4, batch_size=3, learning_rate=0.1, warmup_steps=0)
NAMES = ["RMSE", "AbsRel", "delta1", "RMSElog", "log10"]


class Colours(MeanColours):
    """As large as the features of a ViT."""

    def __call__(self, pictures, image_hw):
        features = super().__call__(pictures, image_hw)
        return Features(patches=features.patches * 8 - 4, prefix=features.prefix * 8 - 4, grid=features.grid)


def write_scene(root, count=20, unknown=()):
    """Smooth surfaces; their red tells the depth, 1 to 4 m, wherever they are."""
    root.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        red = np.array(
            Image.fromarray(rng.integers(0, 256, (2, 3)).astype(np.uint8)).resize(HW[::-1], Image.Resampling.BILINEAR)
        )
        depth = 1000 + red * (3000 / 255)
        depth[:, :3] = 0
        if number in unknown:
            depth[:] = 65535
        stem = root / f"frame-{number:06}"
        Image.fromarray(np.stack([red, 255 - red, red * 0], axis=-1)).save(f"{stem}.color.png")
        Image.fromarray(depth.astype(np.uint16)).save(f"{stem}.depth.png")
    return root


def linear_depth(root, **options):
    fast = {
        "image_size": list(HW),
        "seeds": 1,
        "layouts": [Layout.usual],
        "quick": FIT,
        "head": HeadConfig(num_bins=32),
        "loss": LossConfig(variance_from=5, gradient_scales=2),
        "sevenscenes": SevenScenesConfig(gap=0),
    }
    if options.get("protocol") is DepthProtocol.paper:
        fast["image_size"] = None
    return LinearDepth(LinearDepthConfig(**(fast | options)), root)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_scene(tmp_path_factory.mktemp("data") / "scene")


def test_depth_that_the_features_tell_is_found_in_every_layout(scene):
    layouts = [Layout.usual, Layout.crops, Layout.upside_down]
    task, recorder = linear_depth(scene, layouts=layouts, seeds=2), Recorder()
    assert isinstance(task, Task) and task.name == "linear_depth"
    scores = task.evaluate(Colours(), recorder)
    names = [f"{name}{end}" for end in ("", " crops", " upside down") for name in NAMES]
    assert [metric.name for metric in task.metrics] == names == list(scores.values)
    assert all(len(values) == 2 for values in scores.values.values()) and len(set(scores.values["RMSE"])) == 2
    for end in ("", " upside down"):
        assert max(scores.values[f"RMSE{end}"]) < 0.1  # a head that says 2.5 m everywhere has 0.6
        assert min(scores.values[f"delta1{end}"]) > 99
    assert max(scores.values["RMSE crops"]) < 0.2
    assert scores.notes == () and ["steps", 120, 120] in recorder.works and recorder.works[-1] == ["images", 6, 6]


def test_the_same_seeds_give_the_same_scores(scene):
    one, other = (linear_depth(scene, quick=GLANCE, seeds=2).evaluate(Colours()) for _ in range(2))
    assert one == other


def test_a_method_that_sees_nothing_scores_as_a_constant(scene):
    class Blind(Colours):
        def __call__(self, pictures, image_hw):
            features = super().__call__(pictures, image_hw)
            return Features(patches=features.patches * 0, prefix=features.prefix * 0, grid=features.grid)

    assert min(linear_depth(scene).evaluate(Blind()).values["RMSE"]) > 0.4


def test_a_vit_without_class_token_is_scored_by_its_patches(scene):
    class PatchesAlone(Colours):
        def __call__(self, pictures, image_hw):
            features = super().__call__(pictures, image_hw)
            return Features(patches=features.patches, prefix=features.prefix[:, :0], grid=features.grid)

    assert max(linear_depth(scene).evaluate(PatchesAlone()).values["RMSE"]) < 0.1


def test_overlapping_patches_are_read_where_they_look(scene):
    assert max(linear_depth(scene).evaluate(Colours(patch=8, stride=4)).values["RMSE"]) < 0.1


def test_a_real_vit(scene):
    backbone = dvt.load_backbone("vit_tiny_patch16_224", weights="random", image_size=48)
    scores = linear_depth(scene, quick=GLANCE, num_test=2).evaluate(OnePass("raw", backbone))
    assert all(np.isfinite(values).all() for values in scores.values.values())


def paper(**options):
    numbers = {"train_size": [36, 44], "test_size": [44, 60], "num_workers": 2, "rotation_degrees": 0.0}
    numbers["optimizer"] = SHORT_FIT
    return PaperConfig(**(numbers | options))


@pytest.mark.parametrize("layout", [Layout.usual, Layout.crops])
def test_the_papers_protocol(scene, layout):
    """Sizes that do not fit the patch are rounded up, features are made anew in every step."""
    method = Colours()
    scores = linear_depth(scene, protocol=DepthProtocol.paper, layouts=[layout], paper=paper()).evaluate(method)
    assert max(next(iter(scores.values.values()))) < 0.2
    assert method.seen == [4] * 40 + [6, 6]  # test images and their mirror images


def test_the_papers_protocol_repeats_itself_whatever_the_number_of_threads(scene):
    options = {"protocol": DepthProtocol.paper, "seeds": 2}
    one, other = (
        linear_depth(scene, paper=paper(num_workers=workers, optimizer=GLANCE), **options).evaluate(Colours())
        for workers in (1, 3)
    )
    assert one == other and len(set(one.values["RMSE"])) == 2


def test_with_flip_an_image_and_its_mirror_image_score_the_same():
    """Features that are locked to a place in the ViT's view mislead on both in the same way."""

    class Locked(Colours):
        def __call__(self, pictures, image_hw):
            features = super().__call__(pictures, image_hw)
            ramp = torch.linspace(0, 1, features.patches.shape[2])[:, None]
            return Features(patches=features.patches + ramp, prefix=features.prefix, grid=features.grid)

    from dvt.evaluation.probes.depth_head import DepthHead

    rng = torch.Generator().manual_seed(0)
    head = DepthHead(6, HeadConfig(), rng)
    torch.nn.init.normal_(head.logits.weight, generator=rng)
    picture, depth = torch.rand(3, *HW, generator=rng), 1 + torch.rand(HW, generator=rng)
    samples = [Sample("one", picture, depth), Sample("mirrored", picture.flip(-1), depth.flip(-1))]
    for flip in (True, False):
        one, mirrored = (
            score_heads([head], Locked(), [sample], HW, LinearDepthConfig(), flip=flip).values["RMSE"]
            for sample in samples
        )
        assert (one == pytest.approx(mirrored, abs=1e-6)) is flip


def test_images_without_known_depth_are_left_out_and_named(tmp_path):
    write_scene(tmp_path / "scene", unknown=(0, 4, 17))
    scores = linear_depth(tmp_path / "scene", quick=GLANCE).evaluate(Colours())
    assert len(scores.notes) == 2 and all("without any known depth were left out" in note for note in scores.notes)
    assert scores.notes[0].startswith("usual, training: 1 images") and "(first: frame-000000)" in scores.notes[0]
    assert scores.notes[1].startswith("usual, test: 2 images") and "(first: frame-000004)" in scores.notes[1]
    assert all(np.isfinite(values).all() for values in scores.values.values())


def test_data_without_any_known_depth(tmp_path):
    write_scene(tmp_path / "scene", unknown=range(20))
    with pytest.raises(EvaluationError, match="none of the 14 training images has a depth between"):
        linear_depth(tmp_path / "scene", quick=GLANCE).evaluate(Colours())
    write_scene(tmp_path / "scene", unknown=(4, 5, 10, 11, 16, 17))
    with pytest.raises(EvaluationError, match="none of the 6 test images has a depth between"):
        linear_depth(tmp_path / "scene", quick=GLANCE).evaluate(Colours())


@pytest.mark.parametrize(("option", "there"), [("num_train", 14), ("num_test", 6)])
def test_more_images_than_there_are_are_refused(scene, option, there):
    assert linear_depth(scene, **{option: there}).protocol["train_images"] == 14
    for protocol in DepthProtocol:
        with pytest.raises(EvaluationError, match=f"{option}=500, but there are {there} images. Leave it out to take"):
            linear_depth(scene, protocol=protocol, **{option: 500})


@pytest.mark.other_types  # a check of Sequence[Sample] would read a picture, and meet the error first
def test_sizes_that_do_not_fit(scene, tmp_path):
    with pytest.raises(GeometryError, match="does not divide"):
        linear_depth(scene, image_size=50).evaluate(Colours())
    write_scene(tmp_path / "scene")
    Image.new("RGB", (10, 10)).save(tmp_path / "scene/frame-000000.color.png")
    with pytest.raises(
        EvaluationError,
        match=r"10 x 10 px, its labels are 48 x 64.* Read from .*frame-000000\.color\.png and .*-000000\.depth\.png",
    ):
        linear_depth(tmp_path / "scene", quick=GLANCE).evaluate(Colours())


def test_nyuv2_is_scored_in_the_eigen_crop(tmp_path):
    for split in ("train", "test"):
        Image.new("RGB", (640, 480)).save(tmp_path / f"{split}.jpg")
        Image.fromarray(np.full((480, 640), 2000, np.uint16)).save(tmp_path / f"{split}.png")
        (tmp_path / f"nyu_{split}.txt").write_text(f"{split}.jpg {split}.png 518.8579\n")
    options = {"dataset": DepthDataset.nyuv2, "quick": GLANCE}
    task = linear_depth(tmp_path, protocol=DepthProtocol.quick, **options)
    assert task.protocol["eigen_crop"] and task.protocol["split"] == "the lists of the data set"
    assert np.isfinite(task.evaluate(Colours()).values["RMSE"]).all()
    assert int((task._test[0].target > 0).sum()) == 426 * 560
    task = linear_depth(tmp_path, protocol=DepthProtocol.paper, eigen_crop=False, **options)
    assert task._train[0].target.shape == (427, 565) and int((task._test[0].target > 0).sum()) == 480 * 640


def test_the_protocol_is_plain_json(scene):
    quick = linear_depth(scene).protocol
    assert json.loads(json.dumps(quick)) == quick
    assert quick["train_images"] == 14 and quick["test_images"] == 6 and quick["image_size"] == [48, 64]
    full = linear_depth(scene, protocol=DepthProtocol.paper, num_train=3).protocol
    assert full["train_images"] == 3 and full["train_size"] == [416, 544] and full["loss"]["gradient"] == "correct"
    json.dumps(full, allow_nan=False)


def test_sizes_that_are_none_are_refused_before_any_work(scene):
    with pytest.raises(ConfigError, match="give one number of pixels, or two"):
        linear_depth(scene, image_size=[1, 2, 3])
    with pytest.raises(ConfigError, match="give one number of pixels, or two"):
        linear_depth(scene, paper=PaperConfig(test_size="large"))
