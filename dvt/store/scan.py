"""Every committed shard of a store, checked."""

from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

from dvt.store.folder import sidecar_paths
from dvt.store.schema import StoreMeta
from dvt.store.shard import DamagedShardError, Shard, read_sidecar


def scan(
    path: Path, meta: StoreMeta, check: Callable[[Path, Shard], None], part: tuple[int, int] = (0, 1)
) -> Iterator[tuple[Path, Shard | DamagedShardError]]:
    """The sidecars of a store in the order of their names, each with its shard or with what is wrong.

    Args:
        path: the store.
        meta: of the store.
        check: raises DamagedShardError when a shard, given its folder, is not what its sidecar says.
        part: (i, n): the i-th of n parts of the shards, counted from 0; by their names, so that several who look while
            shards are added divide them alike.

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
        except FileNotFoundError:  # another writer has set it aside since the folder was listed
            continue
        except DamagedShardError as damage:
            yield sidecar, damage
        else:
            yield sidecar, shard
