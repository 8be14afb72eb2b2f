"""Shards: safetensors files of whole records, each committed by a sidecar.

`write_shard` is the commit protocol: first the shard, then its sidecar, each atomically. A shard without a sidecar does
not count. `writer.py` decides when a shard is written.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from safetensors.torch import save
from torch import Tensor

from dvt.errors import StoreError
from dvt.files import parse_json, sha256_of_file, write_atomic
from dvt.store.folder import SHARD_SUFFIX, SIDECAR_SUFFIX, sidecar_paths, unreadable
from dvt.store.keys import key_fault
from dvt.store.schema import StoreMeta, check_schema, sha256_of
from dvt.torch_state import own_torch_state


class DamagedShardError(StoreError):
    """A shard or its sidecar that is not what was written."""


@dataclass(frozen=True, slots=True)
class ArrayEntry:
    """Place of one array in its shard."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    """First byte in the file."""
    end: int
    """Byte after the last."""


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """One record of a shard."""

    key: str
    arrays: dict[str, ArrayEntry]
    digest: str
    """Hex SHA-256 of the record's arrays: see `record_digest`."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard, as its sidecar describes it."""

    file: str
    num_bytes: int
    sha256: str
    records: tuple[RecordEntry, ...]


def record_digest(arrays: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 of the names, formats, shapes and bytes of a record's arrays (CPU, contiguous), in their order."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
        digest.update(array.numpy().data.cast("B"))
    return digest.hexdigest()


def write_shard(folder: Path, stem: str, records: Mapping[str, Mapping[str, Tensor]], meta: StoreMeta) -> None:
    """Write records and commit them: first the shard, then its sidecar.

    Args:
        folder: the folder of shards.
        stem: name of the files without extension.
        records: arrays by key, checked, in their stored form; CPU, contiguous.
        meta: of the store.

    Raises:
        DiskError: the disk is full or refuses.
    """
    data = save({_tensor_name(key, name): array for key, arrays in records.items() for name, array in arrays.items()})
    header_bytes = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:header_bytes])

    def entry(key: str, name: str) -> ArrayEntry:
        begin, end = (header_bytes + offset for offset in header[_tensor_name(key, name)]["data_offsets"])
        return ArrayEntry(meta.dtype, meta.shapes[name], begin, end)

    entries = tuple(
        RecordEntry(key, {name: entry(key, name) for name in arrays}, record_digest(arrays))
        for key, arrays in records.items()
    )
    shard = Shard(stem + SHARD_SUFFIX, len(data), hashlib.sha256(data).hexdigest(), entries)
    write_atomic(folder / shard.file, data)
    write_atomic(folder / (stem + SIDECAR_SUFFIX), _sidecar_json(shard, meta))


def read_sidecar(path: Path, meta: StoreMeta) -> Shard:
    """Read and check a sidecar; the shard itself is not looked at.

    Raises:
        DamagedShardError: the sidecar is not what was written, or belongs to a store with other settings.
        FileNotFoundError: there is none.
        StoreError: made by a newer dvt, or unreadable.
    """
    try:
        body = parse_json(path.read_bytes())
        checksum = body.pop("checksum")
        intact = checksum == sha256_of(body)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedShardError(f"{path.name}: the sidecar is garbled ({type(error).__name__}: {error})") from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    if not intact:
        raise DamagedShardError(f"{path.name}: the sidecar does not match its own checksum")
    check_schema(body.get("schema"), str(path))
    try:
        shard = _shard_of(body)
        fault = _misfit(path, shard, body.get("origin"), meta)
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedShardError(f"{path.name}: the sidecar lacks parts ({error!r})") from error
    if fault:
        raise DamagedShardError(f"{path.name}: {fault}")
    return shard


def check_size(folder: Path, shard: Shard) -> None:
    """Check that a shard is there and as long as it was.

    Raises:
        DamagedShardError: missing, or of another size.
        StoreError: unreadable.
    """
    try:
        size = (folder / shard.file).stat().st_size
    except FileNotFoundError:
        raise DamagedShardError(f"{shard.file}: missing, though its sidecar is there") from None
    except OSError as error:
        raise unreadable(folder / shard.file, error) from error
    if size != shard.num_bytes:
        raise DamagedShardError(f"{shard.file}: {size} bytes, written were {shard.num_bytes}")


def check_bytes(folder: Path, shard: Shard) -> None:
    """Check the size and the SHA-256 of a shard.

    Raises:
        DamagedShardError: missing, or other bytes than were written.
        StoreError: unreadable.
    """
    check_size(folder, shard)
    try:
        found = sha256_of_file(folder / shard.file)
    except OSError as error:
        raise unreadable(folder / shard.file, error) from error
    if found != shard.sha256:
        raise DamagedShardError(f"{shard.file}: other bytes than were written (SHA-256 differs)")


@own_torch_state()
def read_stored(path: Path, name: str, begin: int, meta: StoreMeta) -> Tensor:
    """Read the stored form of one array into a new tensor; nothing is hashed.

    Args:
        path: the shard.
        name: of the array, out of `meta.shapes`.
        begin: first byte of the array in it.
        meta: of the store.

    Raises:
        StoreError: the shard is gone, cut short or unreadable.
    """
    array = torch.empty(meta.format.stored_shape(meta.shapes[name]), dtype=meta.format.stored_dtype)
    rest = array.numpy().data.cast("B")
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(begin)
            while rest:
                count = file.readinto(rest)
                if not count:
                    raise DamagedShardError(f"{path} is cut short. See: dvt store verify")
                rest = rest[count:]
    except OSError as error:
        raise unreadable(path, error) from error
    return array


def scan(
    path: Path, meta: StoreMeta, check: Callable[[Path, Shard], None], part: tuple[int, int] = (0, 1)
) -> Iterator[tuple[Path, Shard | DamagedShardError]]:
    """The sidecars of a store in the order of their names, each with its shard or with its fault.

    Args:
        path: the store.
        meta: of the store.
        check: raises DamagedShardError if a shard, given its folder, is not what its sidecar says.
        part: (i, n): the i-th of n parts of the shards, counted from 0. Parts depend on the names, so that processes
            agree while shards are added.

    Raises:
        StoreError: made by a newer dvt, or unreadable.
    """
    index, count = part
    for sidecar in sidecar_paths(path):
        if crc32(sidecar.name.encode()) % count != index:
            continue
        try:
            shard = read_sidecar(sidecar, meta)
            check(sidecar.parent, shard)
        except FileNotFoundError:  # another writer has set it aside meanwhile
            continue
        except DamagedShardError as damage:
            yield sidecar, damage
        else:
            yield sidecar, shard


def _tensor_name(key: str, array: str) -> str:
    return f"{key}:{array}"


def _sidecar_json(shard: Shard, meta: StoreMeta) -> bytes:
    body = {"schema": meta.schema, "origin": meta.origin, **asdict(shard)}
    return json.dumps({**body, "checksum": sha256_of(body)}).encode()


def _shard_of(body: dict[str, Any]) -> Shard:
    def record(entry: dict[str, Any]) -> RecordEntry:
        arrays = {name: ArrayEntry(**span | {"shape": tuple(span["shape"])}) for name, span in entry["arrays"].items()}
        return RecordEntry(entry["key"], arrays, entry["digest"])

    return Shard(body["file"], body["num_bytes"], body["sha256"], tuple(map(record, body["records"])))


def _misfit(path: Path, shard: Shard, origin: object, meta: StoreMeta) -> str | None:
    """Why an intact sidecar does not belong to this store; None if it does."""
    if shard.file != path.stem + SHARD_SUFFIX:
        return f"it is the sidecar of {shard.file}; files were renamed"
    if origin != meta.origin:
        return f"the shard was made with other settings ({origin}; the store has {meta.origin})"
    shapes = meta.shapes
    for record in shard.records:
        if fault := key_fault(record.key):
            return f"the key {record.key!r} {fault}"
        if set(record.arrays) != set(shapes):
            return f"record {record.key!r} holds {', '.join(record.arrays)}; the store has {', '.join(shapes)}"
        for name, array in record.arrays.items():
            if (array.dtype, array.shape) != (meta.dtype, shapes[name]):
                return (
                    f"{name} of {record.key!r} is {array.dtype} {array.shape};"
                    f" the store has {meta.dtype} {shapes[name]}"
                )
            num_bytes = prod(meta.format.stored_shape(shapes[name])) * meta.format.stored_dtype.itemsize
            if array.begin < 0 or array.end > shard.num_bytes or array.end - array.begin != num_bytes:
                return f"{name} of {record.key!r} is not inside the shard"
    return None
