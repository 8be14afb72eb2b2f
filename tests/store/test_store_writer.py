import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dvt.errors import StoreError
from dvt.grid import PatchGrid
from dvt.store import DiskError, FeatureStore, StoreWriter, status, verify, write_run_record


def shards(path):
    return sorted((path / "shards").glob("*.safetensors"))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("arrays", [("raw", "clean"), ("raw", "clean", "artifact"), ("clean",)])
def test_round_trip_is_exact(tmp_path, meta, arrays_of, dtype, arrays):
    meta = replace(meta, dtype=dtype, arrays=arrays)
    keys = ["b/cat.jpg", "a.png", "ü ö/é.jpg"]
    with StoreWriter.open(tmp_path / "store", meta) as writer:
        for key in keys:
            writer.put(key, arrays_of(key, meta))
    store = FeatureStore.open(tmp_path / "store")
    assert list(store) == sorted(keys)
    for key in keys:
        for name, array in arrays_of(key, meta).items():
            read = store[key].array(name)
            assert read.dtype == array.dtype == meta.torch_dtype
            assert read.numpy().tobytes() == array.numpy().tobytes()
    assert verify(tmp_path / "store").ok


def test_arrays_are_rounded_to_the_stores_format_and_copied(tmp_path, meta):
    values = torch.linspace(-3, 3, 60, dtype=torch.float64).reshape(meta.shape).requires_grad_()
    given = {"raw": values, "clean": values.detach().transpose(0, 1).contiguous().transpose(0, 1)}
    expected = values.detach().half()
    with StoreWriter.open(tmp_path, meta) as writer:
        writer.put("a.jpg", given)
        with torch.no_grad():
            values.zero_()
            given["clean"].zero_()
    record = FeatureStore.open(tmp_path)["a.jpg"]
    assert torch.equal(record.raw, expected) and torch.equal(record.clean, expected)


def test_commits_when_enough_bytes_are_pending(filled):
    assert len(shards(filled)) == 3
    sidecar = json.loads(sorted((filled / "shards").glob("*.json"))[1].read_text())
    assert [record["key"] for record in sidecar["records"]] == ["c.jpg", "d.jpg"]
    assert sidecar["schema"] == 1


def test_commits_when_enough_time_has_passed(tmp_path, meta, arrays_of):
    now = [100.0]
    writer = StoreWriter.open(tmp_path, meta, commit_seconds=60.0, clock=lambda: now[0])
    writer.put("a.jpg", arrays_of("a.jpg", meta))
    now[0] += 59
    writer.put("b.jpg", arrays_of("b.jpg", meta))
    assert shards(tmp_path) == []
    now[0] += 1
    writer.put("c.jpg", arrays_of("c.jpg", meta))
    assert list(FeatureStore.open(tmp_path)) == ["a.jpg", "b.jpg", "c.jpg"]
    now[0] += 59
    writer.put("d.jpg", arrays_of("d.jpg", meta))
    assert len(shards(tmp_path)) == 1
    now[0] += 1
    writer.fail("e.jpg", "photos/e.jpg", "cut short")
    assert len(shards(tmp_path)) == 2


def test_what_is_pending_is_known_until_it_is_committed(tmp_path, meta, arrays_of):
    with StoreWriter.open(tmp_path / "s", meta) as writer:
        assert writer.pending_keys == frozenset()
        writer.put("a.jpg", arrays_of("a.jpg", meta))
        writer.put("b.jpg", arrays_of("b.jpg", meta))
        assert writer.pending_keys == {"a.jpg", "b.jpg"}
        writer.commit()
        assert writer.pending_keys == frozenset()


def test_nothing_pending_makes_no_shard(tmp_path, meta):
    with StoreWriter.open(tmp_path, meta) as writer:
        writer.commit()
    assert shards(tmp_path) == []
    assert len(FeatureStore.open(tmp_path)) == 0


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_whole_records_are_committed_after_an_error(tmp_path, meta, arrays_of, error):
    with pytest.raises(error), StoreWriter.open(tmp_path, meta) as writer:
        writer.put("a.jpg", arrays_of("a.jpg", meta))
        raise error
    assert list(FeatureStore.open(tmp_path)) == ["a.jpg"]
    with pytest.raises(StoreError, match="closed"):
        writer.put("b.jpg", arrays_of("b.jpg", meta))


def test_nothing_is_committed_after_an_error_of_the_disk(tmp_path, meta, arrays_of):
    with pytest.raises(DiskError, match="full"), StoreWriter.open(tmp_path, meta) as writer:
        writer.put("a.jpg", arrays_of("a.jpg", meta))
        raise DiskError("full")
    assert shards(tmp_path) == []


def refusal(tmp_path, meta, arrays, key="cat.jpg"):
    with StoreWriter.open(tmp_path, meta) as writer:
        with pytest.raises(StoreError) as caught:
            writer.put(key, arrays)
        assert not isinstance(caught.value, DiskError)
    assert len(FeatureStore.open(tmp_path)) == 0
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused(tmp_path, meta, arrays_of, dtype, value):
    meta = replace(meta, dtype=dtype)
    arrays = arrays_of("cat.jpg", meta)
    arrays["clean"][1, 2, 3] = value
    text = refusal(tmp_path, meta, arrays)
    assert "clean of 'cat.jpg' has 1 of 60 values that are NaN or infinite" in text


def test_values_beyond_float16_are_refused_and_float32_takes_them(tmp_path, meta, arrays_of):
    arrays = {name: array.float() for name, array in arrays_of("cat.jpg", meta).items()}
    arrays["raw"][0, 0, 0] = -70000.0
    text = refusal(tmp_path / "half", meta, arrays)
    assert "raw of 'cat.jpg'" in text and "7e+04" in text and "65504" in text and "dtype float32 avoids it" in text
    with StoreWriter.open(tmp_path / "single", replace(meta, dtype="float32")) as writer:
        writer.put("cat.jpg", arrays)
    assert torch.equal(FeatureStore.open(tmp_path / "single")["cat.jpg"].raw, arrays["raw"])


def test_other_arrays_than_the_stores_are_refused(tmp_path, meta, arrays_of):
    good = arrays_of("cat.jpg", meta)
    text = refusal(tmp_path, meta, {"raw": good["raw"]})
    assert "has arrays raw; the store holds raw, clean" in text
    assert "raw, clean, noise; the store" in refusal(tmp_path, meta, good | {"noise": good["raw"]})
    text = refusal(tmp_path, meta, good | {"clean": torch.zeros(3, 4, 5)})
    assert "clean of 'cat.jpg' is torch.float32 (3, 4, 5)" in text and "(4, 3, 5)" in text
    assert "torch.int64" in refusal(tmp_path, meta, good | {"clean": torch.zeros(4, 3, 5, dtype=torch.int64)})
    assert "cannot be the key" in refusal(tmp_path, meta, good, key="../cat.jpg")


def test_a_key_is_put_once(tmp_path, meta, arrays_of):
    with StoreWriter.open(tmp_path, meta, shard_bytes=1) as writer:
        writer.put("a.jpg", arrays_of("a.jpg", meta))
        with pytest.raises(StoreError, match=r"'a.jpg' was put before"):
            writer.put("a.jpg", arrays_of("b.jpg", meta))


def test_a_refused_record_may_be_put_again(tmp_path, meta, arrays_of):
    good = arrays_of("a.jpg", meta)
    with StoreWriter.open(tmp_path, meta) as writer:
        with pytest.raises(StoreError):
            writer.put("a.jpg", good | {"raw": good["raw"] * float("nan")})
        writer.put("a.jpg", good)
    assert torch.equal(FeatureStore.open(tmp_path)["a.jpg"].raw, good["raw"])


def test_resume_skips_what_is_done_and_numbers_on(filled, refill):
    assert refill(filled, ["a.jpg", "f.jpg"]) == []
    assert refill(filled, ["a.jpg", "g.jpg"]) == ["g.jpg"]
    assert [file.name[:12] for file in shards(filled)] == [f"0of1-00000{number}-" for number in range(4)]


def test_other_settings_are_refused_with_both_values(filled, meta):
    other = replace(meta, spec=replace(meta.spec, backbone="vit_base", grid=PatchGrid.of((64, 64), 16)))
    with pytest.raises(StoreError) as caught:
        StoreWriter.open(filled, other)
    text = str(caught.value)
    assert "backbone: 'vit_tiny_patch16_224.augreg' in the store, 'vit_base' in" in text
    assert "64 x 48 px" in text and "64 x 64 px" in text
    assert "another folder as store=, or the same settings" in text


def test_another_code_version_may_go_on(filled, meta):
    StoreWriter.open(filled, replace(meta, code_version="0.2.0")).close()
    assert FeatureStore.open(filled).meta.code_version == "0.1.0"


def test_a_folder_of_other_things_is_refused(tmp_path, meta):
    (tmp_path / "cat.jpg").touch()
    with pytest.raises(StoreError, match=r"not empty \(it holds cat.jpg\)"):
        StoreWriter.open(tmp_path, meta)
    assert [file.name for file in tmp_path.iterdir()] == ["cat.jpg"]
    with pytest.raises(StoreError, match="is a file"):
        StoreWriter.open(tmp_path / "cat.jpg", meta)


def test_an_empty_folder_and_one_that_a_crash_left_are_taken(tmp_path, meta):
    (tmp_path / ".meta.json.12345678.tmp").write_bytes(b"{")
    StoreWriter.open(tmp_path, meta).close()
    assert FeatureStore.open(tmp_path).meta == meta


def test_a_store_that_lost_its_meta_is_not_given_another(filled, meta):
    (filled / "meta.json").unlink()
    with pytest.raises(StoreError, match=r"lost its meta.json"):
        StoreWriter.open(filled, meta)
    with pytest.raises(StoreError, match=r"lost its meta.json"):
        FeatureStore.open(filled)


@pytest.mark.parametrize("worker", ["", "0/4", "../x", "a b", "x" * 65])
def test_a_worker_has_a_name_for_files(tmp_path, meta, worker):
    with pytest.raises(StoreError, match="cannot name a worker"):
        StoreWriter.open(tmp_path / "store", meta, worker=worker)
    with pytest.raises(StoreError, match="cannot name a worker"):
        write_run_record(tmp_path / "store", {}, worker=worker)


def test_failures_are_written_at_once_and_beaten_by_success(filled, meta, arrays_of):
    writer = StoreWriter.open(filled, meta)
    writer.fail("bad.jpg", Path("photos/bad.jpg"), "first\nline")
    writer.fail("bad.jpg", "photos/bad.jpg", "second")
    writer.fail("a.jpg", "photos/a.jpg", "was done before")
    writer.fail("x.jpg", "photos/x.jpg", "no pixels")
    assert FeatureStore.open(filled).failures == {"bad.jpg": "second", "x.jpg": "no pixels"}
    assert status(filled).num_failed == 2
    assert writer.done_keys().isdisjoint({"bad.jpg", "x.jpg"})
    writer.put("x.jpg", arrays_of("x.jpg", meta))
    writer.close()
    assert FeatureStore.open(filled).failures == {"bad.jpg": "second"}
    (log,) = (filled / "failures").glob("0of1-*.jsonl")
    assert set(json.loads(log.read_text().splitlines()[0])) == {"key", "path", "error", "time"}
    with pytest.raises(StoreError, match="cannot be the key"):
        writer.fail("/x.jpg", "/x.jpg", "absolute")


def test_a_failure_cut_short_is_tried_again_and_a_garbled_one_is_named(filled, meta):
    writer = StoreWriter.open(filled, meta)
    writer.fail("bad.jpg", "bad.jpg", "no pixels")
    (log,) = (filled / "failures").glob("*.jsonl")
    whole = log.read_bytes()
    log.write_bytes(whole + whole[:-5])
    assert FeatureStore.open(filled).failures == {"bad.jpg": "no pixels"} and verify(filled).ok
    log.write_bytes(whole[:-5] + b"\n" + whole)
    assert FeatureStore.open(filled).failures == {"bad.jpg": "no pixels"}
    assert verify(filled).damaged == (f"{log.name} line 1: not the record of a failure",)


def test_run_records_never_overwrite_each_other(filled):
    files = [write_run_record(filled, {"run": number}, worker="1of4") for number in range(20)]
    assert len(set(files)) == 20 and status(filled).num_runs == 20
    assert [json.loads(file.read_text()) for file in sorted(files)] == [{"run": number} for number in range(20)]
    assert files[0].parent == filled / "runs" and files[0].name.endswith("Z-1of4.json")
