import zlib
from pathlib import Path

import pytest
import torch

from dvt.grid import PatchGrid
from dvt.spec import FeatureSpec
from dvt.store import StoreMeta, StoreWriter


@pytest.fixture
def meta():
    return StoreMeta(
        spec=FeatureSpec(
            backbone="vit_tiny_patch16_224.augreg",
            weights_hash="0123abcd",
            layer=-1,
            norm=True,
            grid=PatchGrid.of((64, 48), patch=16),
            channels=5,
        ),
        solver={"name": "closed_form", "sweeps": 8, "field": {"nodes": 28, "ridge": 0.5}},
        quality="fast",
        code_version="0.1.0",
    )


@pytest.fixture
def arrays_of():
    """Arrays that depend on the key alone, in the number format and with the names of the meta."""

    def make(key, meta):
        rng = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        return {name: torch.randn(meta.shape, generator=rng).to(meta.torch_dtype) for name in meta.arrays}

    return make


@pytest.fixture
def filled(tmp_path, meta, arrays_of):
    """A store of six records in three shards: a.jpg b.jpg | c.jpg d.jpg | e.jpg f.jpg."""
    path = tmp_path / "store"
    fill(path, meta, arrays_of, ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"])
    return path


def fill(path: Path, meta: StoreMeta, arrays_of, keys) -> list[str]:
    """Put what is not done yet, two records per shard; returns what was put."""
    with StoreWriter.open(path, meta, shard_bytes=2 * num_bytes(meta)) as writer:
        done = writer.done_keys()
        todo = [key for key in keys if key not in done]
        for key in todo:
            writer.put(key, arrays_of(key, meta))
    return todo


def num_bytes(meta: StoreMeta) -> int:
    rows, columns, channels = meta.shape
    return len(meta.arrays) * rows * columns * channels * meta.torch_dtype.itemsize


@pytest.fixture
def refill(meta, arrays_of):
    """Run the same job again over a store; returns the keys that were made."""
    return lambda path, keys: fill(path, meta, arrays_of, keys)
