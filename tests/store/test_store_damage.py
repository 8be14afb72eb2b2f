import json
import os
import time
from dataclasses import replace

import pytest
import torch

from dvt.errors import StoreError
from dvt.store import FeatureStore, StoreWriter, remove_leftovers, status, verify
from dvt.store.schema import sha256_of
from dvt.store.shard import scan

KEYS = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"]


def truncate(shard, sidecar):
    shard.write_bytes(shard.read_bytes()[:-1])


def flip(shard, sidecar):
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)


def flip_header(shard, sidecar):
    data = bytearray(shard.read_bytes())
    data[20] ^= 1
    shard.write_bytes(data)


def lose(shard, sidecar):
    shard.unlink()


def cut_sidecar(shard, sidecar):
    sidecar.write_bytes(sidecar.read_bytes()[:-40])


def empty_sidecar(shard, sidecar):
    sidecar.write_bytes(b"")


def rename_a_key(shard, sidecar):
    sidecar.write_text(sidecar.read_text().replace('"c.jpg"', '"x.jpg"'))


def swap_sidecar(shard, sidecar):
    sidecar.write_bytes(min(sidecar.parent.glob("*.json")).read_bytes())


UNSEEN_WHEN_OPENING = {flip, flip_header}


@pytest.mark.parametrize(
    "damage", [truncate, flip, flip_header, lose, cut_sidecar, empty_sidecar, rename_a_key, swap_sidecar]
)
def test_damage_is_found_named_and_repaired_by_the_next_run(filled, meta, arrays_of, refill, damage):
    shard = sorted((filled / "shards").glob("*.safetensors"))[1]
    sidecar = shard.with_suffix(".json")
    damage(shard, sidecar)

    found = verify(filled)
    assert not found.ok and found.num_shards == 2 and found.num_records == 4
    (reason,) = found.damaged
    assert shard.stem in reason
    if damage is flip:
        assert "'c.jpg'" in reason or "'d.jpg'" in reason

    if damage in UNSEEN_WHEN_OPENING:
        FeatureStore.open(filled)
    else:
        assert len(status(filled).damaged) == 1
        with pytest.raises(StoreError, match="1 damaged shard:") as caught:
            FeatureStore.open(filled)
        for part in (shard.stem, f"dvt store verify {filled}", "dvt decompose", "makes their images again"):
            assert part in str(caught.value)

    with StoreWriter.open(filled, meta) as writer:
        assert writer.done_keys() == {"a.jpg", "b.jpg", "e.jpg", "f.jpg"}
    (reason,) = writer.damaged
    assert shard.stem in reason and "set aside" in reason
    assert refill(filled, KEYS) == ["c.jpg", "d.jpg"]

    store = FeatureStore.open(filled)
    assert list(store) == KEYS
    for key in KEYS:
        assert torch.equal(store[key].raw, arrays_of(key, meta)["raw"])
    found = verify(filled)
    assert found.ok and f"damaged/{sidecar.name}" in found.set_aside


def test_each_of_many_workers_hashes_the_shards_with_its_own_images(filled, meta):
    """The second shard holds c and d; a byte of it is flipped."""
    shard = sorted((filled / "shards").glob("*.safetensors"))[1]
    flip(shard, shard.with_suffix(".json"))
    with StoreWriter.open(filled, meta) as writer:
        assert writer.done_keys({"a.jpg", "e.jpg"}) == set(KEYS) and writer.damaged == []
        assert writer.done_keys({"d.jpg"}) == set(KEYS) - {"c.jpg", "d.jpg"} and len(writer.damaged) == 1
        truncate(*(sorted((filled / "shards").glob(f"*.{end}"))[0] for end in ("safetensors", "json")))
        assert writer.done_keys(set()) == {"e.jpg", "f.jpg"}  # sizes are looked at everywhere


def test_a_shard_that_another_writer_sets_aside_meanwhile_is_passed_over(filled, meta):
    first, second, third = sorted((filled / "shards").glob("*.json"))
    found = scan(filled, meta, lambda folder, shard: second.unlink(missing_ok=True))
    assert [sidecar for sidecar, _ in found] == [first, third]


def test_writers_share_the_shards_and_each_shard_is_one_writers(filled, meta):
    shard = sorted((filled / "shards").glob("*.safetensors"))[1]
    flip(shard, shard.with_suffix(".json"))
    with StoreWriter.open(filled, meta) as writer:
        parts = [writer.done_keys(part=(index, 3)) for index in range(3)]
        assert sorted(key for part in parts for key in part) == ["a.jpg", "b.jpg", "e.jpg", "f.jpg"]
        assert len(writer.damaged) == 1


def test_many_damaged_shards_are_counted(filled, refill):
    refill(filled, [f"{number}.jpg" for number in range(8)])
    for shard in (filled / "shards").glob("*.safetensors"):
        shard.unlink()
    with pytest.raises(StoreError, match="7 damaged shards:") as caught:
        FeatureStore.open(filled)
    assert "and 2 more" in str(caught.value)


def test_a_sidecar_of_a_newer_dvt_is_refused_and_left_alone(filled, meta):
    sidecar = min((filled / "shards").glob("*.json"))
    body = json.loads(sidecar.read_text()) | {"schema": 3}
    del body["checksum"]
    sidecar.write_text(json.dumps(body | {"checksum": sha256_of(body)}))
    for action in (FeatureStore.open, verify, lambda path: StoreWriter.open(path, meta).done_keys()):
        with pytest.raises(StoreError, match=r"newer dvt \(schema 3; this one reads 2\): upgrade dvt"):
            action(filled)
    assert sidecar.exists()


def test_a_shard_of_a_store_with_other_settings_does_not_pass(tmp_path, filled, meta, arrays_of):
    for change in ({"weights_hash": "other"}, {"channels": 6}, {"dtype": "float32"}, {"arrays": ("clean",)}):
        spec = replace(meta.spec, **{name: change.pop(name) for name in ("weights_hash", "channels") if name in change})
        other = replace(meta, spec=spec, **change)
        with StoreWriter.open(tmp_path / "other", other, worker="x") as writer:
            writer.put("x.jpg", arrays_of("x.jpg", other))
        moved = [file.replace(filled / "shards" / file.name) for file in (tmp_path / "other" / "shards").iterdir()]
        (reason,) = verify(filled).damaged
        assert moved[0].stem in reason and "the store has" in reason
        for file in (*moved, tmp_path / "other" / "meta.json"):
            file.unlink()


def test_orphans_are_passed_over_and_old_ones_removed_on_request(filled):
    before = verify(filled)
    (filled / "shards" / "0of1-000009-aaaaaaaa.safetensors").write_bytes(b"whole, but never committed")
    (filled / "shards" / ".0of1-000010-bbbbbbbb.safetensors.cccccccc.tmp").write_bytes(b"half")
    (filled / ".meta.json.dddddddd.tmp").write_bytes(b"half")
    assert list(FeatureStore.open(filled)) == KEYS
    found = verify(filled)
    assert found.ok and (found.num_records, found.num_bytes) == (before.num_records, before.num_bytes)
    assert found.uncommitted == ("shards/0of1-000009-aaaaaaaa.safetensors",)
    assert found.temporary == (
        ".meta.json.dddddddd.tmp",
        "shards/.0of1-000010-bbbbbbbb.safetensors.cccccccc.tmp",
    )
    assert remove_leftovers(filled) == ()
    old = time.time() - 4000
    os.utime(filled / found.uncommitted[0], (old, old))
    assert remove_leftovers(filled) == found.uncommitted
    assert remove_leftovers(filled, older_than_s=0.0) == found.temporary
    assert verify(filled) == before


def test_status_counts(filled, meta):
    found = status(filled)
    assert (found.num_records, found.num_shards, found.num_failed, found.num_runs) == (6, 3, 0, 0)
    assert found.num_bytes == sum(file.stat().st_size for file in (filled / "shards").glob("*.safetensors"))
    assert found.meta == meta and found.damaged == ()
