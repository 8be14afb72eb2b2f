"""What several processes, kill -9 and a full disk do to a store: real processes, real signals, a real limit."""

import multiprocessing
import os
import random
import resource
import signal
import sys
import time
import zlib
from dataclasses import replace

import pytest
import torch

from dvt.errors import StoreError
from dvt.store import DiskError, FeatureStore, StoreWriter, verify

pytestmark = pytest.mark.process
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "torch", "dvt.store"])
KEYS = [f"folder {number % 3}/{number:03d}.jpg" for number in range(60)]


def arrays_for(key, meta):
    rng = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    return {name: torch.randn(meta.shape, generator=rng) for name in meta.arrays}


def write_missing(path, meta, keys, worker="0of1", shard_bytes=1000):
    """Write what is not done, three records of this meta per shard."""
    with StoreWriter.open(path, meta, worker=worker, shard_bytes=shard_bytes) as writer:
        done = writer.done_keys()
        assert writer.damaged == []
        for key in keys:
            if key not in done:
                writer.put(key, arrays_for(key, meta))


def started(target, *args):
    process = PROCESSES.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def contents(path):
    return {
        key: {name: record.array(name).numpy().tobytes() for name in ("raw", "clean")}
        for key, record in FeatureStore.open(path).items()
    }


@pytest.fixture
def meta(meta):
    return replace(meta, spec=replace(meta.spec, channels=7))  # 336 bytes per record


@pytest.fixture
def expected(tmp_path, meta):
    """Contents of the store that an uninterrupted run makes."""
    write_missing(tmp_path / "uninterrupted", meta, KEYS)
    return contents(tmp_path / "uninterrupted")


def num_committed(path):
    return len(list((path / "shards").glob("0of1-*.json")))


def test_kill_at_random_moments_then_resume_equals_an_uninterrupted_run(tmp_path, meta, expected):
    path, rng = tmp_path / "killed", random.Random(0)
    counts = [0]
    for _ in range(8):
        enough = num_committed(path) + rng.randint(0, 2)
        process = started(write_missing, path, meta, KEYS)
        while process.is_alive() and num_committed(path) < enough:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.004))
        process.kill()
        process.join()
        if (path / "meta.json").exists():
            assert verify(path).ok
            counts.append(len(FeatureStore.open(path)))
    assert counts == sorted(counts)
    assert any(0 < count < len(KEYS) for count in counts), f"killed too early or too late: {counts}"
    write_missing(path, meta, KEYS)
    assert contents(path) == expected and list(expected) == sorted(KEYS)
    assert verify(path).ok


FILE_EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.listdir", "os.scandir"}


def write_until_killed(path, meta, keys, num_events):
    """Write; kill this process at its n-th touch of the file system inside the store."""
    left = [num_events]

    def hook(event, args):
        if event in FILE_EVENTS and str(path) in str(args[0]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    write_missing(path, meta, keys)


def test_kill_at_every_touch_of_the_file_system(tmp_path, meta):
    keys = KEYS[:5]
    write_missing(tmp_path / "uninterrupted", meta, keys)
    expected = contents(tmp_path / "uninterrupted")
    found = []
    for num_events in range(1, 200):
        path = tmp_path / str(num_events)
        process = started(write_until_killed, path, meta, keys, num_events)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        if (path / "meta.json").exists():
            state = verify(path)
            assert state.ok and contents(path).items() <= expected.items()
            found.append((state.num_records, len(state.uncommitted), len(state.temporary)))
        write_missing(path, meta, keys)
        assert contents(path) == expected and verify(path).ok
    else:
        pytest.fail("the run never came to its end")
    # Every kind of half-done state was met: nothing yet, one shard of two, all; an orphan; a temporary file.
    assert {records for records, _, _ in found} == {0, 3, 5}
    assert any(orphans for _, orphans, _ in found) and any(temporary for _, _, temporary in found)


def test_writers_at_once_share_a_store(tmp_path, meta, expected):
    path = tmp_path / "shared"
    shares = [KEYS[:35], KEYS[25:]]  # the middle is done by both
    workers = [started(write_missing, path, meta, share, f"{place}of2") for place, share in enumerate(shares)]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert contents(path) == expected
    state = verify(path)
    assert state.ok and state.uncommitted == state.temporary == ()


def try_to_open(path, meta, barrier, answers):
    barrier.wait()
    try:
        StoreWriter.open(path, meta).close()
    except StoreError as error:
        answers.put((meta.spec.backbone, str(error)))
    else:
        answers.put((meta.spec.backbone, None))


def test_of_workers_with_other_settings_one_side_wins(tmp_path, meta):
    for attempt in range(5):
        path, barrier, answers = tmp_path / str(attempt), PROCESSES.Barrier(4), PROCESSES.Queue()
        metas = [replace(meta, spec=replace(meta.spec, backbone=name)) for name in ("one", "two", "one", "two")]
        workers = [started(try_to_open, path, each, barrier, answers) for each in metas]
        results = [answers.get(timeout=60) for _ in workers]
        for worker in workers:
            worker.join()
        winner = FeatureStore.open(path).meta.spec.backbone
        for backbone, error in results:
            if backbone == winner:
                assert error is None
            else:
                assert f"backbone: '{winner}' in the store, '{backbone}' in the request" in error
        assert not list(path.glob(".*"))


def write_under_a_limit(path, meta, keys, limit, answers):
    with StoreWriter.open(path, meta) as writer:
        writer.put(keys[0], arrays_for(keys[0], meta))
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    try:
        write_missing(path, meta, keys, shard_bytes=20_000)
    except DiskError as error:
        answers.put(str(error))
    try:
        writer = StoreWriter.open(path, meta)
        while True:
            writer.fail("bad.jpg", "bad.jpg", "x" * 500)
    except DiskError as error:
        answers.put(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    writer.fail("worse.jpg", "worse.jpg", "there is space again")


def test_a_full_disk_stops_the_run_and_leaves_the_store_whole(tmp_path, meta, expected):
    path, answers = tmp_path / "full", PROCESSES.Queue()
    process = started(write_under_a_limit, path, meta, KEYS, 10_000, answers)
    for text in (answers.get(timeout=60), answers.get(timeout=60)):
        assert "no space left" in text and "What is committed is safe" in text
        assert "free space" in text and "run the same command again" in text
    process.join()
    assert process.exitcode == 0
    state = verify(path)
    assert state.ok and state.num_records == 1 and state.temporary == state.uncommitted == ()
    assert FeatureStore.open(path).failures == {"bad.jpg": "x" * 500, "worse.jpg": "there is space again"}
    write_missing(path, meta, KEYS)
    assert contents(path) == expected
