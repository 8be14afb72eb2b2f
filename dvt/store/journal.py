"""Failed images with reasons, and one record per run."""

import errno
import json
import os
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

from dvt.files import create_exclusive, disk_errors, parse_json, to_json
from dvt.store.folder import FAILURES, RUNS, check_worker, unreadable
from dvt.store.keys import check_key


class FailureLog:
    """Failed images of one worker, each written at once.

    Args:
        path: the store.
        worker: name of the worker.
    """

    def __init__(self, path: Path, worker: str) -> None:
        self._file = path / FAILURES / f"{worker}-{uuid4().hex[:8]}.jsonl"

    def append(self, key: str, path: str, error: str) -> None:
        """Record that an image failed.

        Raises:
            StoreError: no valid key.
            DiskError: the disk is full or refuses.
        """
        entry = {"key": check_key(key), "path": path, "error": error, "time": time.time()}
        line = json.dumps(entry).encode() + b"\n"
        with disk_errors(self._file), self._file.open("ab", buffering=0) as file:
            before = file.tell()
            if file.write(line) != len(line):  # the disk is nearly full: leave no half line
                file.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_failures(path: Path) -> dict[str, str]:
    """The latest error of every image that failed, by key, sorted.

    Raises:
        StoreError: a file cannot be read.
    """
    latest: dict[str, tuple[float, str]] = {}
    for _, entry in _entries(path):
        if entry and (entry[0] not in latest or entry[1] >= latest[entry[0]][0]):
            latest[entry[0]] = entry[1:]
    return {key: latest[key][1] for key in sorted(latest)}


def garbled_failures(path: Path) -> list[str]:
    """Invalid lines of the failure files.

    Raises:
        StoreError: a file cannot be read.
    """
    return [f"{place}: not the record of a failure" for place, entry in _entries(path) if entry is None]


def _entries(path: Path) -> Iterator[tuple[str, tuple[str, float, str] | None]]:
    """(place, (key, time, error)) of every line; None for an invalid one."""
    for file in sorted((path / FAILURES).glob("*.jsonl")):
        try:
            lines = file.read_bytes().split(b"\n")
        except OSError as error:
            raise unreadable(file, error) from error
        # A crash cut short what follows the last line break. Its image is not done and will be tried again.
        for number, line in enumerate(lines[:-1], start=1):
            try:
                entry = parse_json(line)
                yield file.name, (str(entry["key"]), float(entry["time"]), str(entry["error"]))
            except (ValueError, KeyError, TypeError, OverflowError):
                yield f"{file.name} line {number}", None


def write_run_record(store_path: str | Path, record: dict[str, Any], *, worker: str = "0of1") -> Path:
    """Record a run: its configuration, versions, times, counts.

    Args:
        store_path: the store.
        record: plain JSON.
        worker: name of the worker, such as 0of4.

    Returns:
        The new file, `runs/<time in UTC>-<worker>.json`.

    Raises:
        DiskError: the disk is full or refuses.
        StoreError: the worker's name cannot be part of a file name.
    """
    folder = Path(store_path) / RUNS
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    data = to_json(record).encode()
    while True:  # of two runs within a microsecond the second takes the next
        moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        file = folder / f"{moment}-{check_worker(worker)}.json"
        if create_exclusive(file, data):
            return file


def run_paths(path: Path) -> list[Path]:
    """The run records of a store, oldest first."""
    return sorted(file for file in (path / RUNS).glob("*.json") if not file.name.startswith("."))


def recorded_weights(path: str | Path, weights_hash: str | None) -> str | None:
    """The file of the ViT's weights, as the latest run with these weights recorded it.

    Args:
        path: the store.
        weights_hash: hash of the weights.

    Returns:
        An absolute path or `random`; None: they are those of the hub, or no run says.
    """
    for file in reversed(run_paths(Path(path))):
        try:
            backbone = json.loads(file.read_bytes())["backbone"]
            if backbone["weights_hash"] == weights_hash:
                weights = backbone["weights"]
                return weights if isinstance(weights, str) else None
        except (OSError, ValueError, KeyError, TypeError):  # a record is for people; an older one does not say
            continue
    return None
