"""Eight bits: no value is off by more than half a step of its channel's range, and the disk holds a byte a number."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvt.errors import StoreError
from dvt.store import FeatureStore, StoreWriter, verify
from dvt.store.formats import FORMATS

INT8 = FORMATS["int8"]


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 6), st.integers(1, 9), st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_no_value_is_off_by_more_than_half_a_step(seed, rows, columns, channels, size):
    rng = torch.Generator().manual_seed(seed)
    values = size * torch.randn(rows, columns, channels, generator=rng) + 5 * torch.randn(channels, generator=rng)
    stored = INT8.encode(values)
    assert stored.shape == INT8.stored_shape(tuple(values.shape)) and stored.dtype == torch.uint8
    read = INT8.decode(stored, tuple(values.shape)).float()
    step = (values.amax(dim=(0, 1)) - values.amin(dim=(0, 1))) / 255
    rounding = 1e-3 * values.abs().amax(dim=(0, 1)) + 1e-7  # of float16, in which maps are read
    assert ((read - values).abs() <= 0.5 * step + rounding).all()


def test_by_hand():
    values = torch.tensor([[[0.0, 7.0], [2.0, 7.0]], [[255.0, 7.0], [100.4, 7.0]]])
    stored = INT8.encode(values)
    assert stored[16:].tolist() == [0, 0, 2, 0, 255, 0, 100, 0]  # a channel without a range keeps its value
    assert INT8.decode(stored, (2, 2, 2)).tolist() == [[[0.0, 7.0], [2.0, 7.0]], [[255.0, 7.0], [100.0, 7.0]]]


def test_a_store_of_bytes(tmp_path, meta, arrays_of):
    meta = replace(meta, dtype="int8")
    given = {key: arrays_of(key, meta) for key in ("a.jpg", "b/c.png")}
    with StoreWriter.open(tmp_path, meta) as writer:
        for key, arrays in given.items():
            writer.put(key, {name: array.float() for name, array in arrays.items()})
    store = FeatureStore.open(tmp_path)
    for key, arrays in given.items():
        for name, array in arrays.items():
            read = store[key].array(name)
            assert read.dtype == torch.float16 and read.shape == meta.shape
            assert torch.equal(read, INT8.decode(INT8.encode(array), meta.shape))
    assert verify(tmp_path).ok
    (shard,) = (tmp_path / "shards").glob("*.safetensors")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert not verify(tmp_path).ok


@pytest.mark.parametrize("values", [(-7e4, 0.0), (3e38, -3e38)])
def test_what_cannot_be_read_as_float16_is_refused(tmp_path, meta, arrays_of, values):
    arrays = {name: array.float() for name, array in arrays_of("cat.jpg", meta).items()}
    arrays["raw"][0, :2, 0] = torch.tensor(values)
    with (
        StoreWriter.open(tmp_path, replace(meta, dtype="int8")) as writer,
        pytest.raises(StoreError, match="beyond the 65504 of int8: a store with dtype float32 avoids it"),
    ):
        writer.put("cat.jpg", arrays)


def test_a_store_is_continued_in_its_own_format(tmp_path, meta):
    StoreWriter.open(tmp_path, meta).close()
    with pytest.raises(StoreError, match="dtype: 'float16' in the store, 'int8' in"):
        StoreWriter.open(tmp_path, replace(meta, dtype="int8"))
