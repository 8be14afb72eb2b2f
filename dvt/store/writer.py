"""StoreWriter: collects records, decides when they are committed as a shard, and lists what is done.

`write_shard` in `shard.py` is the commit itself.
"""

import os
import re
import time
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import torch
from torch import Tensor

from dvt.errors import StoreError
from dvt.files import DiskError, disk_errors
from dvt.store.folder import DAMAGED, SHARD_SUFFIX, SHARDS, check_worker, create_or_match
from dvt.store.journal import FailureLog
from dvt.store.keys import check_key
from dvt.store.schema import StoreMeta
from dvt.store.shard import Shard, check_bytes, check_size, scan, write_shard


class StoreWriter:
    """Writes into a store for one worker; open it with `StoreWriter.open`, as a context manager.

    `put` keeps records in memory, `commit` writes them as one shard. A crash loses what was put since the last commit.
    Leaving the block commits, also after an error or Ctrl-C, unless the disk failed. Memory: at most `shard_bytes` and
    one record of pending arrays, about four times that while a shard is written.
    """

    def __init__(
        self,
        path: Path,
        meta: StoreMeta,
        worker: str,
        shard_bytes: int,
        commit_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.path = path
        """Folder of the store."""
        self.meta = meta
        """What the records are."""
        self.damaged: list[str] = []
        """Faults of the shards that `done_keys` set aside."""
        self._worker = worker
        self._shard_bytes = shard_bytes
        self._commit_seconds = commit_seconds
        self._clock = clock
        self._failures = FailureLog(path, worker)
        self._pending: dict[str, dict[str, Tensor]] = {}
        self._pending_bytes = 0
        self._put: set[str] = set()
        self._counter = _next_counter(path / SHARDS, worker)
        self._last_commit_s = clock()
        self._stem = ""
        self._closed = False

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        meta: StoreMeta,
        *,
        worker: str = "0of1",
        shard_bytes: int = 64 * 2**20,
        commit_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> "StoreWriter":
        """Make a store, or continue one that was made with the same settings.

        Args:
            path: folder of the store; made if it does not exist.
            meta: what the records are.
            worker: name of this worker, part of the names of its files; several may write at once.
            shard_bytes: commit when this many bytes are pending.
            commit_seconds: commit when this much time has passed since the last commit.
            clock: seconds from any start; for tests.

        Raises:
            StoreError: the store was made with other settings, or the folder holds something else.
            DiskError: the disk is full or refuses.
        """
        check_worker(worker)
        path = Path(path)
        create_or_match(path, meta)
        return cls(path, meta, worker, shard_bytes, commit_seconds, clock)

    @property
    def pending_keys(self) -> frozenset[str]:
        """Keys that are not committed yet: a crash would lose them."""
        return frozenset(self._pending)

    def done_keys(self, among: Container[str] | None = None, part: tuple[int, int] = (0, 1)) -> set[str]:
        """The keys that any worker has committed, of shards that still have the bytes that were written.

        A damaged shard is moved to `damaged/`: readers skip it, and its images are made again. `damaged` says why.

        Args:
            among: hash only shards with some of these keys, and check the size of the others; so each of many workers
                checks its own part. None: hash all.
            part: (i, n): only the i-th of n parts of the shards, counted from 0.

        Raises:
            StoreError: a shard was made by a newer dvt, or cannot be read.
            DiskError: a damaged shard cannot be moved.
        """
        done: set[str] = set()

        def check(folder: Path, shard: Shard) -> None:
            mine = among is None or any(record.key in among for record in shard.records)
            (check_bytes if mine else check_size)(folder, shard)

        for sidecar, found in scan(self.path, self.meta, check, part):
            if isinstance(found, Shard):
                done.update(record.key for record in found.records)
            else:
                self._set_aside(sidecar)
                self.damaged.append(f"{found}; set aside in {self.path / DAMAGED}, its images are made again")
        return done

    def put(self, key: str, arrays: Mapping[str, Tensor]) -> None:
        """Add a record; it is committed with others when they are many or old enough.

        Args:
            key: relative path of the image, with extension.
            arrays: what `meta.shapes` names, floating point, on any device; copied. The (H, W, C) maps, and with
                `meta.field` the (rows, columns, C) values on the nodes of F.

        Raises:
            StoreError: the key is not valid or was put before, or the arrays are not what the store holds: other
                names or shapes, NaN, infinity, or values beyond the store's number format.
            DiskError: the disk is full or refuses.
        """
        if self._closed:
            raise StoreError(f"the writer of {self.path} is closed: open another to put {key!r}.")
        if check_key(key) in self._put:
            raise StoreError(f"{key!r} was put before: two images with one key. Give each image once.")
        if set(arrays) != set(self.meta.shapes):
            raise StoreError(
                f"record {key!r} has arrays {', '.join(arrays) or 'none'};"
                f" the store holds {', '.join(self.meta.shapes)}."
            )
        record = {name: self._storable(key, name, arrays[name]) for name in self.meta.shapes}
        self._put.add(key)
        self._pending[key] = record
        self._pending_bytes += sum(array.nbytes for array in record.values())
        self._commit_if_due()

    def fail(self, key: str, path: str | os.PathLike[str], error: str) -> None:
        """Record at once that an image failed; a later success overrides it.

        Args:
            key: relative path of the image, with extension.
            path: the image file.
            error: why it failed, for people.

        Raises:
            StoreError: the key is not valid.
            DiskError: the disk is full or refuses.
        """
        self._failures.append(key, os.fspath(path), error)
        self._commit_if_due()

    def commit(self) -> None:
        """Write the pending records, if any, as one shard.

        Raises:
            DiskError: the disk is full or refuses; the records stay pending.
        """
        if self._pending:
            self._stem = self._stem or f"{self._worker}-{self._counter:06d}-{uuid4().hex[:8]}"
            write_shard(self.path / SHARDS, self._stem, self._pending, self.meta)
            self._counter += 1
            self._stem = ""  # after an interrupted write the stem stays: the next write replaces that shard
            self._pending, self._pending_bytes = {}, 0
        self._last_commit_s = self._clock()

    def close(self) -> None:
        """Commit what is pending; `put` is refused from now on.

        Raises:
            DiskError: the disk is full or refuses.
        """
        self._closed = True
        self.commit()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, DiskError):
            self._closed = True
        else:
            self.close()

    def _commit_if_due(self) -> None:
        waited_s = self._clock() - self._last_commit_s
        if self._pending_bytes >= self._shard_bytes or waited_s >= self._commit_seconds:
            self.commit()

    def _storable(self, key: str, name: str, array: Tensor) -> Tensor:
        """The stored form of an array, checked, on the CPU."""
        shape = self.meta.shapes[name]
        if tuple(array.shape) != shape or not array.is_floating_point():
            raise StoreError(
                f"{name} of {key!r} is {array.dtype} {tuple(array.shape)};"
                f" the store holds floating point {shape} (rows, columns, channels)."
            )
        stored = self.meta.format.encode(array.detach())
        lowest, highest = torch.aminmax(self.meta.format.decode(stored, shape))  # both NaN if one value is
        if not bool(lowest.isfinite() & highest.isfinite()):
            raise self._not_storable(key, name, array.detach())
        return stored

    def _not_storable(self, key: str, name: str, array: Tensor) -> StoreError:
        """Why an array is refused: NaN, infinity, or values too large for the store."""
        num_bad = int((~array.isfinite()).sum())
        if num_bad:
            return StoreError(
                f"{name} of {key!r} has {num_bad} of {array.numel()} values that are NaN or infinite:"
                " it is not stored. Look at the image and at the backbone's precision."
            )
        return StoreError(
            f"{name} of {key!r} has values up to {float(array.abs().max()):.4g}, beyond the"
            f" {torch.finfo(self.meta.torch_dtype).max:.6g} of {self.meta.dtype}: a store with dtype float32 avoids it."
        )

    def _set_aside(self, sidecar: Path) -> None:
        """Move a damaged shard to `damaged/`: the sidecar first, which undoes the commit."""
        folder = self.path / DAMAGED
        with disk_errors(folder):
            folder.mkdir(exist_ok=True)
            for file in (sidecar, sidecar.with_suffix(SHARD_SUFFIX)):
                with suppress(FileNotFoundError):  # a missing file may be the fault; or another worker was faster
                    file.replace(folder / file.name)


def _next_counter(folder: Path, worker: str) -> int:
    """The number after the worker's last shard: names sort in the order of writing."""
    name = re.compile(rf"{re.escape(worker)}-(\d+)-[0-9a-f]+{re.escape(SHARD_SUFFIX)}")
    return max((int(match[1]) + 1 for file in folder.iterdir() if (match := name.fullmatch(file.name))), default=0)
