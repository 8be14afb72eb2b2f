"""Stage 2 without a store: the buffer, the pairs made in memory, and whole runs."""

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reporters import ActAt, Collect

from dvt.denoiser.config import DenoiserConfig, OnlineConfig, Raw
from dvt.denoiser.denoised import denoiser_input
from dvt.denoiser.online import Buffer, OnlinePairs, PairMaker, make_method, train_from_images
from dvt.denoiser.train import train_denoiser
from dvt.errors import ConfigError, TrainingError
from dvt.images import find_images, read_image
from dvt.store import FeatureStore
from dvt.training.config import TrainerConfig
from dvt.training.data import Draw
from dvt.weights.build import load_denoiser
from dvt.weights.folder import read_model_folder

ONLINE = {"quality": "tiny", "num_views": 3, "buffer": 4, "reuse": 2, "val_images": 2}


def weights(out):
    return read_model_folder(out)[0]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def make_pairs(image_folder, backbone, layers=(), buffer=4):
    files = find_images(image_folder)
    method = make_method(backbone, OnlineConfig(**ONLINE), seed=0)
    maker = PairMaker(method, backbone, layers, max_pixels=10**6)
    held = Buffer(len(files), capacity=buffer, first=4, reuse=2, seed=0)
    return OnlinePairs(files, held, maker), maker


def test_pairs_are_those_of_a_store(image_folder, backbone, store):
    pairs, _ = make_pairs(image_folder, backbone)
    stored = FeatureStore.open(store)
    keys = set()
    for number in range(16):
        pair = pairs[Draw(index=0, number=number)]
        assert torch.equal(pair["raw"], stored[pair["key"]].raw) and torch.equal(
            pair["clean"], stored[pair["key"]].clean
        )
        keys.add(pair["key"])
    assert len(keys) > 4


def test_earlier_blocks_are_behind_the_last(image_folder, backbone):
    pairs, _ = make_pairs(image_folder, backbone, layers=(3, 7))
    pair = pairs[Draw(index=0, number=0)]
    view = backbone.preprocess(read_image(image_folder / pair["key"]))[None]
    assert pair["raw"].shape == (4, 4, 3 * 192)
    assert torch.allclose(pair["raw"].float(), denoiser_input(backbone, view, [3, 7])[0][0], atol=2e-2)


def test_a_short_list_is_decomposed_once(image_folder, backbone):
    pairs, maker = make_pairs(image_folder, backbone, buffer=10)
    for number in range(60):
        pairs[Draw(index=0, number=number)]
    assert maker.num_made == 10


def test_it_learns_and_says_what_it_is(image_folder, backbone, tmp_path, options):
    config = options(num_steps=30, save_every=30, validate_every=30, optimizer={"base_learning_rate": 8e-3})
    online = OnlineConfig(**ONLINE | {"buffer": 9})
    done = train_from_images(find_images(image_folder), tmp_path / "out", backbone, config, online)
    metrics = done.trained.metrics
    assert done.num_decomposed == 10 and done.failures == {} and metrics["val/mse"] < 0.9 * metrics["val/raw_mse"]
    info = load_denoiser(tmp_path / "out").info
    assert info.spec.weights_hash == backbone.weights_hash and info.training["stage1"][0]["quality"] == "tiny"
    assert (info.training["num_images"], info.training["num_val_images"]) == (9, 1)


def test_stopped_and_resumed_it_ends_with_the_same_weights(image_folder, backbone, tmp_path, options):
    run = (find_images(image_folder), backbone, options(num_steps=7), OnlineConfig(**ONLINE))
    files, *rest = run
    train_from_images(files, tmp_path / "whole", *rest)
    first = train_from_images(files, tmp_path / "parts", *rest, reporter=ActAt(3))
    assert first.trained.interrupted and first.trained.step == 3
    reporter = Collect()
    train_from_images(files, tmp_path / "parts", *rest, reporter=reporter)
    assert reporter.notes[-1].endswith("continuing at step 3")
    assert reporter.tasks == [(5, "images", "decompose"), (4, "steps", "train")]
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    with pytest.raises(TrainingError, match=r"data: .* in the checkpoint"):
        train_from_images(
            files, tmp_path / "parts", backbone, options(num_steps=7), OnlineConfig(**ONLINE | {"reuse": 3})
        )


def test_an_image_that_fails_is_passed_over_and_named(image_folder, backbone, tmp_path, options):
    shutil.copytree(image_folder, tmp_path / "photos")
    (tmp_path / "photos" / "03.png").write_bytes(b"no image")
    files = find_images(tmp_path / "photos")
    done = train_from_images(files, tmp_path / "out", backbone, options(num_steps=12), OnlineConfig(**ONLINE))
    assert list(done.failures) == ["03.png"] and done.trained.step == 12


def test_no_image_that_can_be_decomposed(backbone, tmp_path, options):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(TrainingError, match=r"none of 1 images to validate on could be decomposed; the first: .*\.png"):
        train_from_images(find_images(tmp_path), tmp_path / "out", backbone, options(), OnlineConfig(**ONLINE))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_workers": 2}, "num_workers=2: images are decomposed in this process"),
        ({"pairs": {"raw": Raw.recomputed}}, "needs a store: run dvt decompose first"),
        ({"trainer": TrainerConfig(accelerator="cpu", devices=2)}, "several processes would each.*shard=i/n"),
        ({"trainer": TrainerConfig(accelerator="cpu", strategy="ddp")}, "several processes would each"),
        ({"denoiser": DenoiserConfig(layers=[11])}, "layers=.11.*before block 11"),
    ],
)
def test_options_that_do_not_go_together(image_folder, backbone, tmp_path, options, changes, message):
    with pytest.raises(ConfigError, match=message):
        train_from_images(find_images(image_folder), tmp_path / "out", backbone, options(**changes))


def test_one_image_is_too_few(image_folder, backbone, tmp_path, options):
    with pytest.raises(TrainingError, match="1 image was given"):
        train_from_images(find_images(image_folder / "00.png"), tmp_path / "out", backbone, options())


def test_a_store_and_images_give_alike_denoisers(image_folder, backbone, store, tmp_path, options):
    config = {"num_steps": 20, "save_every": 20, "validate_every": 20, "optimizer": {"base_learning_rate": 4e-3}}
    online = OnlineConfig(**ONLINE | {"buffer": 9, "val_images": 1})
    one = train_from_images(
        find_images(image_folder), tmp_path / "a", backbone, options(**config), online
    ).trained.metrics
    other = train_denoiser([store], tmp_path / "b", options(**config)).metrics
    assert one["val/raw_mse"] == pytest.approx(other["val/raw_mse"], rel=1e-5)
    assert one["val/mse"] == pytest.approx(other["val/mse"], rel=0.2)


SIZES = {
    "num_images": st.integers(1, 30),
    "capacity": st.integers(1, 40),
    "first": st.integers(1, 20),
    "reuse": st.integers(1, 9),
}


@given(**SIZES, number=st.integers(0, 400))
@settings(max_examples=25, deadline=None)
def test_it_depends_on_the_draw_alone(num_images, capacity, first, reuse, number):
    options = {"capacity": capacity, "first": first, "reuse": reuse, "seed": 3}
    walked, asked = Buffer(num_images, **options), Buffer(num_images, **options)
    for each in range(max(0, number - 50), number + 1):
        seen = walked.images(each), walked.drawn(each)
    assert seen == (asked.images(number), asked.drawn(number))


@given(**SIZES)
@settings(max_examples=25, deadline=None)
def test_it_moves_on_by_one(num_images, capacity, first, reuse):
    held = Buffer(num_images, capacity=capacity, first=first, reuse=reuse, seed=0)
    before = held.images(0)
    assert len(before) == min(first, capacity, num_images) == len(set(before))
    for number in range(1, 3 * num_images * reuse):
        now = held.images(number)
        assert set(now) <= set(range(num_images)) and len(now) <= min(capacity, num_images)
        assert 0 <= held.drawn(number) < len(now)
        if number % reuse:
            assert now == before
        elif num_images <= capacity:
            assert now[: len(before)] == before and len(now) == min(num_images, len(before) + 1)
        else:
            assert now[:-1] == (before if len(now) > len(before) else before[1:])
        before = now


def test_every_image_enters_once_a_pass_in_another_order():
    held = Buffer(10, capacity=4, first=4, reuse=1, seed=0)
    come = [*held.images(0), *(held.images(number)[-1] for number in range(1, 17))]
    passes = come[:10], come[10:]
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(10)) and passes[0] != passes[1]
    assert [*Buffer(10, capacity=4, first=4, reuse=1, seed=1).images(0)] != come[:4]
