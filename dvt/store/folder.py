"""The folder of a store: names of its files, and the meta that all workers share."""

import re
from pathlib import Path

from dvt.errors import StoreError
from dvt.files import create_exclusive, disk_errors
from dvt.store.schema import StoreMeta

META = "meta.json"
SHARDS = "shards"
FAILURES = "failures"
RUNS = "runs"
DAMAGED = "damaged"
"""Shards that failed their check, moved here by a writer so that readers skip them."""

SHARD_SUFFIX = ".safetensors"
SIDECAR_SUFFIX = ".json"

_WORKER = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_store(path: Path) -> bool:
    """Whether a folder is a feature store, complete or not."""
    return (path / META).is_file() or any((path / SHARDS).glob(f"*{SIDECAR_SUFFIX}"))


def read_meta(path: Path) -> StoreMeta:
    """The meta of a store.

    Raises:
        StoreError: there is no store at this path, or its meta cannot be read.
    """
    hint = f"Make a store with: dvt decompose images=... store={path}"
    if not path.exists():
        raise StoreError(f"there is no feature store at {path}: no such folder. {hint}")
    if not path.is_dir():
        raise StoreError(f"{path} is a file, not the folder of a feature store. {hint}")
    file = path / META
    try:
        return StoreMeta.from_json(file.read_text(encoding="utf-8"), source=str(file))
    except FileNotFoundError:
        if any((path / SHARDS).glob("*")):
            raise StoreError(f"{path} lost its {META}: restore it from a backup, or make the store anew.") from None
        state = "holds other files but no" if any(path.iterdir()) else "is empty, without a"
        raise StoreError(f"{path} is not a feature store: it {state} {META}. {hint}") from None
    except UnicodeDecodeError as error:
        raise StoreError(f"{file} is damaged, not text ({error.reason}): restore it from a backup.") from error
    except OSError as error:
        raise unreadable(file, error) from error


def create_or_match(path: Path, meta: StoreMeta) -> None:
    """Make the folder of a store, or check that the existing one was made with the same settings.

    Several workers may do this at once: one creates `meta.json`, the others compare.

    Raises:
        StoreError: the store has other settings (each is named with both values), the folder holds something else,
            or it cannot be written.
    """
    claim(path)
    if not (path / META).exists():
        create_exclusive(path / META, meta.to_json().encode())
    differences = read_meta(path).differences(meta)
    if differences:
        lines = "".join(f"\n  {line}" for line in differences)
        raise StoreError(
            f"the store {path} was made with other settings:{lines}\n"
            "Give another folder as store=, or the same settings as before."
        )
    with disk_errors(path):
        for name in (SHARDS, FAILURES, RUNS):
            (path / name).mkdir(exist_ok=True)


def claim(path: Path) -> None:
    """Make a folder for a store, or check that the existing one is a store or empty.

    Raises:
        StoreError: it is a file, holds something else, or cannot be made.
    """
    if path.exists() and not path.is_dir():
        raise StoreError(f"store={path} is a file: give the name of a folder.")
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(path)


def _refuse_foreign(path: Path) -> None:
    """Check that a folder without meta is empty, apart from files that other workers are making now."""
    # List the shards before looking for the meta: a writer writes the meta first.
    has_shards = any((path / SHARDS).glob(f"*{SIDECAR_SUFFIX}"))
    names = sorted(entry.name for entry in path.iterdir())
    if (path / META).exists():
        return
    if has_shards:
        raise StoreError(f"{path} has shards but lost its {META}: restore it from a backup, or give another folder.")
    foreign = [name for name in names if not name.startswith(".") and name not in {META, SHARDS, FAILURES, RUNS}]
    if foreign:
        raise StoreError(
            f"{path} is not a feature store and not empty (it holds {foreign[0]}):"
            " give a new or empty folder as store=."
        )


def check_worker(worker: str) -> str:
    """Return the name of a worker, checked as part of a file name.

    Raises:
        StoreError: empty, too long, or with other characters.
    """
    if not _WORKER.fullmatch(worker):
        raise StoreError(
            f"{worker!r} cannot name a worker: give up to 64 letters, digits, '_' and '-', such as '0of4'."
        )
    return worker


def unreadable(path: Path, error: OSError) -> StoreError:
    """The error for a file that is there but cannot be read."""
    return StoreError(f"cannot read {path} ({error.strerror}): check the disk and the permissions, then try again.")


def shard_bytes(path: Path) -> int:
    """Bytes of all shards of a store; 0 where there is none."""
    return sum(file.stat().st_size for file in (path / SHARDS).glob(f"*{SHARD_SUFFIX}"))


def sidecar_paths(path: Path) -> list[Path]:
    """The sidecars of a store, sorted by name: one per committed shard."""
    return sorted(file for file in (path / SHARDS).glob(f"*{SIDECAR_SUFFIX}") if not file.name.startswith("."))
