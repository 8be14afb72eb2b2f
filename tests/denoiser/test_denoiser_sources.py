"""Which pairs a denoiser learns from."""

import dataclasses
from pathlib import Path

import pytest
import torch

from dvt.errors import StoreError, TrainingError
from dvt.grid import PatchGrid
from dvt.images import ImageFile, find_images
from dvt.spec import FeatureSpec
from dvt.store import FeatureStore, StoreMeta, StoreWriter
from dvt.training.config import Missing
from dvt.training.sources import open_sources

META = StoreMeta(
    spec=FeatureSpec(
        backbone="vit_tiny_patch16_224", weights_hash="0123", layer=11, norm=True, grid=PatchGrid.of((32, 32), 16),
        channels=3,
    ),
    solver={"solver": "closed_form"}, quality="fast", code_version="0",
)  # fmt: skip


def make(path, keys, **changes):
    meta = dataclasses.replace(META, **changes)
    with StoreWriter.open(path, meta) as writer:
        for number, key in enumerate(keys):
            writer.put(key, {name: torch.full(meta.shape, float(number)) for name in meta.arrays})
    return path


def opened(*paths, images=None, missing=Missing.error, needs=None):
    return open_sources(paths, needs, images, missing=missing, group="pairs")


def files(*keys):
    return [ImageFile(key, Path(key)) for key in keys]


def test_several_stores_are_one_list_and_the_first_that_has_an_image_gives_it(tmp_path):
    one, two = make(tmp_path / "1", ["a.png", "c.png"]), make(tmp_path / "2", ["b.png", "c.png"])
    sources = opened(one, two)
    assert [(pair.key, pair.store.path.name) for pair in sources.pairs] == [
        ("a.png", "1"),
        ("b.png", "2"),
        ("c.png", "1"),
    ]
    assert sources.pairs[2].record.raw[0, 0, 0] == 1


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"backbone": "vit_small_patch16_224"}, "backbone"),
        ({"weights_hash": "4567"}, "weights_hash"),
        ({"layer": 5}, "layer"),
        ({"norm": False}, "norm"),
        ({"grid": PatchGrid.of((48, 32), 16)}, "grid"),
        ({"channels": 4}, "channels"),
    ],
)
def test_stores_that_do_not_go_together_are_refused_with_both_values(tmp_path, changes, name):
    other = dataclasses.replace(META.spec, **changes)
    one, two = make(tmp_path / "1", ["a.png"]), make(tmp_path / "2", ["b.png"], spec=other)
    with pytest.raises(StoreError, match=f"{name}: .* in the store, .* in the request"):
        opened(one, two)


def test_a_store_of_another_solver_goes_along(tmp_path):
    two = make(tmp_path / "2", ["b.png"], solver={"solver": "gradient"})
    assert len(opened(make(tmp_path / "1", ["a.png"]), two).pairs) == 2


def test_needs_are_checked(tmp_path):
    with pytest.raises(StoreError, match="layer: 11 in the store, 3 in the request"):
        opened(make(tmp_path / "1", ["a.png"]), needs=dataclasses.replace(META.spec, layer=3))


def test_an_empty_store_and_one_without_clean_features_are_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"is empty: fill it with dvt decompose images=... store="):
        opened(make(tmp_path / "1", []))
    with pytest.raises(TrainingError, match="no clean features to learn"):
        opened(make(tmp_path / "2", ["a.png"], arrays=("raw",)))


def test_images_choose_and_images_without_features_are_named(tmp_path):
    store = make(tmp_path / "1", ["a.png", "b.png"])
    assert [pair.key for pair in opened(store, images=files("b.png")).pairs] == ["b.png"]
    with StoreWriter.open(store, META) as writer:
        writer.fail("x.png", "x.png", "it is a text file")
    asked = files("a.png", "x.png", "y.png")
    with pytest.raises(TrainingError) as caught:
        opened(store, images=asked)
    text = str(caught.value)
    assert "2 of 3 images have no features" in text and "x.png   (failed: it is a text file)" in text
    assert f"dvt decompose images=... store={store}" in text and "pairs.missing=skip" in text
    assert f"backbone.timm={META.spec.backbone} backbone.image_size=" in text
    assert f"backbone.layer={META.spec.layer}" in text
    skipped = opened(store, images=asked, missing=Missing.skip)
    assert [pair.key for pair in skipped.pairs] == ["a.png"] and skipped.num_missing == 2


def test_skipping_every_image_leaves_nothing_and_says_so(tmp_path):
    with pytest.raises(TrainingError, match="1 of 1 images have no features") as caught:
        opened(make(tmp_path / "1", ["a.png"]), images=files("x.png"), missing=Missing.skip)
    assert "pairs.missing" not in str(caught.value), "that is what was given"


def test_the_split_depends_on_keys_alone(tmp_path):
    keys = [f"{number}.png" for number in range(40)]
    train, val = opened(make(tmp_path / "1", keys)).split(0.25)
    assert len(val) == 10 and len(train) == 30
    assert sorted(pair.key for pair in [*train, *val]) == sorted(keys)
    backwards = opened(make(tmp_path / "2", keys[::-1])).split(0.25)
    assert [pair.key for pair in backwards[1]] == [pair.key for pair in val]


def test_both_sides_have_an_image_and_one_image_is_too_few(tmp_path):
    train, val = opened(make(tmp_path / "1", ["a.png", "b.png"])).split(0.01)
    assert len(train) == len(val) == 1
    with pytest.raises(TrainingError, match="holds one image"):
        opened(make(tmp_path / "2", ["a.png"])).split(0.5)


def test_the_hash_of_the_data_tells_other_images_and_other_features(tmp_path):
    hashes = {
        opened(make(tmp_path / "1", ["a.png", "b.png"])).info.data_hash,
        opened(make(tmp_path / "2", ["a.png", "c.png"])).info.data_hash,
        opened(make(tmp_path / "3", ["a.png", "b.png"], solver={"solver": "gradient"})).info.data_hash,
    }
    assert len(hashes) == 3
    assert opened(make(tmp_path / "4", ["b.png", "a.png"])).info.data_hash in hashes


def test_keys_of_a_folder_are_those_of_its_store(store, image_folder):
    assert set(FeatureStore.open(store)) == {image.key for image in find_images(image_folder)}


def test_the_order_in_which_images_are_given_changes_nothing(tmp_path):
    store = make(tmp_path / "1", ["a.png", "b.png", "c.png"])
    given = opened(store, images=files("c.png", "a.png", "b.png"))
    assert [pair.key for pair in given.pairs] == ["a.png", "b.png", "c.png"]
    assert given.info.data_hash == opened(store).info.data_hash
