import pickle
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from torch.utils.data import DataLoader, Dataset

from dvt.errors import StoreError
from dvt.grid import PatchGrid
from dvt.store import FeatureStore, MissingKeyError, StoreWriter, status


def test_a_store_is_a_mapping(filled, meta, arrays_of):
    store = FeatureStore.open(filled)
    assert isinstance(store, Mapping) and len(store) == 6
    assert list(store) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"]
    assert "c.jpg" in store and "c.png" not in store
    assert store.get("c.png") is None
    assert [record.key for record in store.values()] == list(store)
    assert store.meta == meta
    assert torch.equal(store["d.jpg"].clean, arrays_of("d.jpg", meta)["clean"])
    assert "d.jpg" in repr(store["d.jpg"]) and "6 records" in repr(store)


def test_a_missing_key_names_the_nearest_and_the_command(filled):
    store = FeatureStore.open(filled)
    with pytest.raises(KeyError) as caught:
        store["photos/c.jpg"]
    assert isinstance(caught.value, StoreError) and isinstance(caught.value, MissingKeyError)
    text = str(caught.value)
    assert "no record 'photos/c.jpg' (it has 6)" in text and "Nearest: 'c.jpg'" in text
    assert text.endswith(f"Make it with: dvt decompose images=... store={filled}")


def test_a_missing_key_that_failed_says_why(filled, meta):
    StoreWriter.open(filled, meta).fail("g.jpg", "g.jpg", "truncated JPEG")
    with pytest.raises(MissingKeyError, match=r"It failed: truncated JPEG\."):
        FeatureStore.open(filled)["g.jpg"]


def test_arrays_that_the_store_does_not_hold(filled):
    with pytest.raises(StoreError, match=r"holds raw, clean of 'a.jpg', not artifact"):
        _ = FeatureStore.open(filled)["a.jpg"].artifact


def test_a_store_without_fields_names_the_command_that_makes_one(filled):
    with pytest.raises(StoreError, match=r"not the field F.*\n?.*dvt decompose images=\.\.\. store=NEW_FOLDER fine=2"):
        _ = FeatureStore.open(filled)["a.jpg"].field


def test_records_are_views_of_the_moment_of_opening(filled, refill):
    store = FeatureStore.open(filled)
    refill(filled, ["g.jpg"])
    assert "g.jpg" not in store and "g.jpg" in FeatureStore.open(filled)


def test_each_access_gives_a_tensor_of_its_own(filled):
    record = FeatureStore.open(filled)["a.jpg"]
    first = record.raw
    expected = first.clone()
    first.zero_()
    assert torch.equal(record.raw, expected)


def test_shards_are_plain_safetensors(filled, meta, arrays_of):
    seen = {}
    for file in (filled / "shards").glob("*.safetensors"):
        with safe_open(file, framework="pt") as shard:
            seen |= {name: shard.get_tensor(name) for name in shard.keys()}
    assert len(seen) == 12
    for key, record in FeatureStore.open(filled).items():
        assert torch.equal(seen[f"{key}:raw"], record.raw) and torch.equal(seen[f"{key}:clean"], record.clean)


def test_of_a_key_in_several_shards_the_first_by_name_is_read(tmp_path, meta, arrays_of):
    for worker, source in (("1of2", "one"), ("0of2", "two")):
        with StoreWriter.open(tmp_path, meta, worker=worker) as writer:
            writer.put("a.jpg", arrays_of(source, meta))
    store = FeatureStore.open(tmp_path)
    assert len(store) == 1 and status(tmp_path).num_records == 1
    assert torch.equal(store["a.jpg"].raw, arrays_of("two", meta)["raw"])


def test_require_names_both_values(filled):
    store = FeatureStore.open(filled)
    store.require(store.meta.spec)
    other = replace(store.meta.spec, backbone="vit_base", grid=PatchGrid.of((64, 64), 16), layer=11, norm=False)
    store.require(other, ignore=("backbone", "grid", "layer", "norm"))
    with pytest.raises(StoreError) as caught:
        store.require(other)
    lines = str(caught.value).splitlines()
    assert lines[1:-1] == [
        "  backbone: 'vit_tiny_patch16_224.augreg' in the store, 'vit_base' in the request",
        "  layer: -1 in the store, 11 in the request",
        "  norm: True in the store, False in the request",
        "  grid: 64 x 48 px, 4 x 3 patches of 16 px every 16 px in the store,"
        " 64 x 64 px, 4 x 4 patches of 16 px every 16 px in the request",
    ]
    assert "settings" in lines[-1]


@pytest.mark.parametrize("opener", [FeatureStore.open, status])
def test_what_is_no_store_says_what_to_do(tmp_path, opener):
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    for name, reason in [
        ("gone", "no such folder"),
        ("empty", "is empty"),
        ("photos", "holds other files"),
        ("photos/cat.jpg", "is a file"),
    ]:
        with pytest.raises(StoreError, match=reason) as caught:
            opener(tmp_path / name)
        assert f"dvt decompose images=... store={tmp_path / name}" in str(caught.value)


def test_a_damaged_meta_is_named(filled):
    for content in (b"{", b"\xff\xfe"):
        (filled / "meta.json").write_bytes(content)
        with pytest.raises(StoreError, match=r"meta.json is damaged"):
            FeatureStore.open(filled)


def test_a_shard_that_goes_after_opening_is_an_error_for_people(filled):
    store = FeatureStore.open(filled)
    shard = min((filled / "shards").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-3])
    assert store["a.jpg"].clean.isfinite().all()  # data before the cut is readable
    with pytest.raises(StoreError, match="cut short"):
        _ = store["b.jpg"].raw
    shard.unlink()
    with pytest.raises(StoreError, match="cannot read"):
        _ = store["a.jpg"].raw


def test_pickled_stores_read_the_same(filled):
    store = FeatureStore.open(filled)
    again = pickle.loads(pickle.dumps(store))
    assert list(again) == list(store) and again.meta == store.meta
    assert torch.equal(again["e.jpg"].raw, store["e.jpg"].raw)
    assert torch.equal(pickle.loads(pickle.dumps(store["e.jpg"])).raw, store["e.jpg"].raw)


class CleanMaps(Dataset):
    def __init__(self, store):
        self.store, self.keys = store, list(store)

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, index):
        return self.store[self.keys[index]].clean


def test_data_loader_workers_read_the_store(filled):
    store = FeatureStore.open(filled)
    loader = DataLoader(CleanMaps(store), batch_size=2, num_workers=2, multiprocessing_context="forkserver")
    read = torch.cat(list(loader))
    assert torch.equal(read, torch.stack([record.clean for record in store.values()]))
