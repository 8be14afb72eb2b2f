"""What a feature store costs: bytes, writing, reading a map, checking what is there, opening one of many shards.

    python benchmarks/store.py --folder /tmp/stores

The maps are noise, of the size of ViT-B/14 at 518 px (37 x 37 x 768); as many records as fill `--gigabytes` in every
number format. The files have just been written, so reading and checking find them in the cache of the machine: a disk
adds its own time. For opening, `--shards` shards of 15 records of one patch and one channel, whose sidecars are as long
as those of large maps. Medians, and the extremes in brackets.
"""

import argparse
import json
import shutil
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from stopwatch import seconds

from dvt.grid import PatchGrid
from dvt.runtime import environment
from dvt.spec import FeatureSpec
from dvt.store import FeatureStore, StoreMeta, StoreWriter
from dvt.store.formats import FORMATS
from dvt.version import __version__

LARGE = StoreMeta(
    spec=FeatureSpec(
        backbone="vit_base_patch14_dinov2",
        weights_hash="noise",
        layer=-1,
        norm=True,
        grid=PatchGrid.of((518, 518), 14),
        channels=768,
    ),
    solver={},
    quality="fast",
    code_version=__version__,
)
SMALL = replace(LARGE, spec=replace(LARGE.spec, grid=PatchGrid.of((14, 14), 14), channels=1))
RECORDS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="is made, and removed in the end")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of each number format")
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    args.folder.mkdir(parents=True)
    try:
        results: dict[str, object] = {dtype: large(args, dtype) for dtype in FORMATS}
        results["open, ms per shard"] = opening(args)
    finally:
        shutil.rmtree(args.folder)
    shown = {key: value for key, value in vars(args).items() if key != "folder"}
    print(json.dumps({"benchmark": "store", **shown, "results": results, "machine": environment()}))


def large(args: argparse.Namespace, dtype: str) -> dict[str, object]:
    """Numbers of one format, with maps of the usual size."""
    meta, path = replace(LARGE, dtype=dtype), args.folder / dtype
    maps = {name: torch.randn(meta.shape, generator=torch.Generator().manual_seed(0)) for name in meta.arrays}
    bytes_of_one = sum(meta.format.encode(each).nbytes for each in maps.values())
    keys = [f"{number}.jpg" for number in range(int(args.gigabytes * 1e9 / bytes_of_one))]
    start = time.perf_counter()
    with StoreWriter.open(path, meta) as writer:
        for key in keys:
            writer.put(key, maps)
    write_s = time.perf_counter() - start
    on_disk = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    store = FeatureStore.open(path)
    read = [seconds(lambda key=key: store[key].clean.sum()) for key in keys]  # type: ignore[misc]
    check = [seconds(lambda: StoreWriter.open(path, meta, worker="other").done_keys()) for _ in range(args.repeats)]
    print(f"{dtype}: {len(keys)} records, {on_disk / len(keys) / 1e6:.3f} MB each, raw and clean")
    print(f"    writing  {1e3 * write_s / len(keys):.1f} ms a record, encoding and checksum among it")
    print(f"    reading  {spread(read, 1e3)} ms a map, all of its numbers read")
    print(f"    checking {spread(check, 1e9 / on_disk)} s per GB", flush=True)
    return {
        "bytes_per_record": on_disk / len(keys),
        "write_s": write_s / len(keys),
        "read_s": statistics.median(read),
        "check_s_per_gb": statistics.median(check) * 1e9 / on_disk,
    }


def opening(args: argparse.Namespace) -> float:
    """Milliseconds to open a store, per shard."""
    path = args.folder / "many"
    zeros = {name: torch.zeros(SMALL.shape) for name in SMALL.arrays}
    with StoreWriter.open(path, SMALL) as writer:
        for shard in range(args.shards):
            for number in range(RECORDS):
                writer.put(f"photos/{shard:06d}/{number:06d}.jpg", zeros)
            writer.commit()
    times = [seconds(lambda: FeatureStore.open(path)) for _ in range(args.repeats)]
    print(f"opening {args.shards} shards of {RECORDS} records: {spread(times, 1e3 / args.shards)} ms a shard")
    return 1e3 * statistics.median(times) / args.shards


def spread(values: list[float], unit: float) -> str:
    """Median and extremes."""
    return f"{unit * statistics.median(values):.2f} ({unit * min(values):.2f} to {unit * max(values):.2f})"


if __name__ == "__main__":
    main()
