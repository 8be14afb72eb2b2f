"""Verify a store by hash, count its content, delete leftovers of crashes."""

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dvt.files import TEMP_SUFFIX, disk_errors
from dvt.store.folder import DAMAGED, RUNS, SHARD_SUFFIX, SHARDS, SIDECAR_SUFFIX, read_meta
from dvt.store.journal import garbled_failures, read_failures, run_paths
from dvt.store.schema import StoreMeta
from dvt.store.shard import (
    DamagedShardError,
    RecordEntry,
    Shard,
    check_bytes,
    check_size,
    read_stored,
    record_digest,
    scan,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `verify` found; paths are relative to the store."""

    num_shards: int
    """Committed shards that are intact."""
    num_records: int
    """Different keys in them."""
    num_bytes: int
    """Size of them in bytes, sidecars not counted."""
    damaged: tuple[str, ...]
    """What is wrong, one line per damaged file."""
    uncommitted: tuple[str, ...]
    """Shards without a sidecar: being written now, or left by a crash. Readers skip them."""
    temporary: tuple[str, ...]
    """Temporary files: being written now, or left by a crash."""
    set_aside: tuple[str, ...]
    """Damaged files that a later run moved to `damaged/` and made again."""

    @property
    def ok(self) -> bool:
        """Whether everything committed is what was written."""
        return not self.damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a store holds, without hashing it."""

    meta: StoreMeta
    num_records: int
    num_failed: int
    """Images that failed and were not done since."""
    num_shards: int
    num_bytes: int
    """Size of the shards in bytes, sidecars not counted."""
    num_runs: int
    damaged: tuple[str, ...]
    """Shards that are missing, cut short, or whose sidecar is garbled; `verify` finds more."""


def verify(path: str | os.PathLike[str]) -> Verification:
    """Read a whole store and compare the hash of every shard and every record with what was written.

    Raises:
        StoreError: there is no store at this path, it was made by a newer dvt, or cannot be read.
    """
    path = Path(path)
    meta = read_meta(path)

    sizes, keys, damaged = _tally(path, meta, lambda folder, shard: _check_shard(folder, shard, meta))
    return Verification(
        num_shards=len(sizes),
        num_records=len(keys),
        num_bytes=sum(sizes),
        damaged=(*damaged, *garbled_failures(path)),
        uncommitted=_relative(path, _uncommitted(path)),
        temporary=_relative(path, _temporary(path)),
        set_aside=_relative(path, sorted((path / DAMAGED).glob("*"))),
    )


def status(path: str | os.PathLike[str]) -> Status:
    """Count what a store holds, from sidecars and file sizes.

    Raises:
        StoreError: there is no store at this path, it was made by a newer dvt, or cannot be read.
    """
    path = Path(path)
    meta = read_meta(path)
    sizes, keys, damaged = _tally(path, meta, check_size)
    return Status(
        meta=meta,
        num_records=len(keys),
        num_failed=len(read_failures(path).keys() - keys),
        num_shards=len(sizes),
        num_bytes=sum(sizes),
        num_runs=len(run_paths(path)),
        damaged=tuple(damaged),
    )


def remove_leftovers(path: str | os.PathLike[str], *, older_than_s: float = 3600.0) -> tuple[str, ...]:
    """Delete temporary files and uncommitted shards of crashes.

    Args:
        path: the store.
        older_than_s: age in seconds from which a file counts as a leftover; younger ones may be being written.

    Returns:
        Deleted files, relative to the store.

    Raises:
        StoreError: there is no store at this path.
        DiskError: a file cannot be deleted.
    """
    path = Path(path)
    read_meta(path)
    removed = []
    for file in (*_uncommitted(path), *_temporary(path)):
        with disk_errors(file), suppress(FileNotFoundError):  # renamed by its writer in the meantime
            if time.time() - file.stat().st_mtime >= older_than_s:
                file.unlink()
                removed.append(file)
    return _relative(path, removed)


def _tally(path: Path, meta: StoreMeta, check: Callable[[Path, Shard], None]) -> tuple[list[int], set[str], list[str]]:
    """Sizes of the intact shards, the keys in them, and the faults of the others."""
    sizes: list[int] = []
    keys: set[str] = set()
    damaged: list[str] = []
    for _, found in scan(path, meta, check):
        if isinstance(found, Shard):
            sizes.append(found.num_bytes)
            keys.update(record.key for record in found.records)
        else:
            damaged.append(str(found))
    return sizes, keys, damaged


def _check_shard(folder: Path, shard: Shard, meta: StoreMeta) -> None:
    """Check size, records and bytes; the error names the records that are damaged.

    Raises:
        DamagedShardError: the shard is not what was written.
        StoreError: unreadable.
    """
    check_size(folder, shard)
    bad = [record.key for record in shard.records if _digest_now(folder / shard.file, record, meta) != record.digest]
    if bad:
        raise DamagedShardError(f"{shard.file}: other bytes than were written, in {', '.join(map(repr, bad))}")
    check_bytes(folder, shard)


def _digest_now(file: Path, record: RecordEntry, meta: StoreMeta) -> str:
    return record_digest({name: read_stored(file, name, record.arrays[name].begin, meta) for name in meta.shapes})


def _uncommitted(path: Path) -> list[Path]:
    shards = sorted((path / SHARDS).glob(f"*{SHARD_SUFFIX}"))
    return [shard for shard in shards if not shard.with_suffix(SIDECAR_SUFFIX).exists()]


def _temporary(path: Path) -> list[Path]:
    return sorted(file for folder in (path, path / SHARDS, path / RUNS) for file in folder.glob(f".*{TEMP_SUFFIX}"))


def _relative(path: Path, files: Iterable[Path]) -> tuple[str, ...]:
    return tuple(file.relative_to(path).as_posix() for file in files)
