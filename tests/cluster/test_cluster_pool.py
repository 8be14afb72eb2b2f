"""PoolRun with workers in this process: the store is that of one process, whichever workers die."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from cluster_jobs import NUM_IMAGES, Recorder, Wrapped, make_job
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process_pool import InProcessPool
from stored import stored_bytes

from dvt.cluster import pool as module
from dvt.cluster.pool import SET_ASIDE, PoolRun
from dvt.cluster.shared_files import StoreMarker
from dvt.cluster.worker import Answer, CheckedPart, Job, Started, Worker
from dvt.decomposition.outcome import Outcome
from dvt.errors import EngineError
from dvt.images import ImageFile
from dvt.store import DiskError, FeatureStore, StoreWriter, verify


class Cached(Wrapped):
    """A method that runs the ViT once for each image."""

    def __init__(self, method):
        super().__init__(method, None)
        self._made = {}

    def __call__(self, image, key):
        if key not in self._made:
            self._made[key] = self._method(image, key)
        return self._made[key]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    backbone, method = make_job(tmp_path_factory.mktemp("any") / "s").load()
    return backbone, Cached(method)


@pytest.fixture
def run(tmp_path, files, loaded, monkeypatch):
    """run(size, ...) decomposes the images into tmp_path/s; the ViT is loaded once for all workers."""
    monkeypatch.setattr(Job, "load", lambda job: loaded)

    def start(size, dies=lambda pool, worker, method, argument: False, seed=0, then=lambda n: None, pool=InProcessPool):
        job = make_job(tmp_path / "s")
        start.outcome, start.reporter = Outcome(total=len(files)), Recorder(then)
        with StoreMarker(tmp_path / "s") as marker:
            start.pool = pool(
                lambda name: Worker(job, name, marker.path, files[0].path.parent, patience_s=0.0), dies, seed
            )
            start.run = PoolRun(start.pool, files, tmp_path / "s", "ray-test", size, start.outcome, start.reporter)
            try:
                start.run.work()
            finally:
                start.run.close()
        return start.outcome

    return start


def test_all_is_done_and_every_worker_takes_part(run, whole, tmp_path):
    outcome = run(3)
    assert (outcome.done, outcome.skipped, outcome.failed, outcome.left) == (NUM_IMAGES, 0, {}, 0)
    assert stored_bytes(tmp_path / "s") == whole and verify(tmp_path / "s").ok
    assert run.reporter.started == [(NUM_IMAGES, "images")]
    assert run.reporter.count == NUM_IMAGES and run.reporter.notes == []
    shards = {path.name[:10] for path in (tmp_path / "s" / "shards").glob("*.json")}
    assert shards == {"ray-test-0", "ray-test-1", "ray-test-2"} and run.pool.workers == {}
    assert run.run.about["backbone"]["timm"].startswith("vit_tiny_patch16_224")


@pytest.mark.parametrize("seed", range(6))
def test_workers_that_die_at_random_change_nothing(run, whole, tmp_path, seed, monkeypatch):
    if seed % 2:  # every record is committed at once
        opened = StoreWriter.open
        monkeypatch.setattr(StoreWriter, "open", lambda *args, **options: opened(*args, **options, shard_bytes=1))
    rng = random.Random(seed)
    outcome = run(2, lambda pool, worker, method, argument: pool.num_added < 8 and rng.random() < 0.3, seed)
    assert (outcome.done, outcome.left) == (NUM_IMAGES - len(outcome.failed), 0)
    left = {key: value for key, value in whole.items() if key not in outcome.failed}
    assert {key: value for key, value in stored_bytes(tmp_path / "s").items() if key in left} == left
    assert verify(tmp_path / "s").ok and run.pool.num_added > 2 and run.reporter.count == NUM_IMAGES
    notes = run.reporter.notes
    assert notes and all("crashed; the images" in note and note.endswith("killed by the test") for note in notes)


def test_an_image_that_kills_two_workers_is_set_aside_and_the_next_run_tries_it_again(run, whole, tmp_path):
    def deadly(pool, worker, method, argument):
        return method == "decompose" and argument.key == "3.png"

    outcome = run(2, deadly)
    assert (list(outcome.failed), outcome.done) == (["3.png"], NUM_IMAGES - 1)
    assert outcome.failed["3.png"] == f"{SET_ASIDE} killed by the test"
    assert run.pool.num_added == 2 + 2
    assert FeatureStore.open(tmp_path / "s").failures == outcome.failed
    assert {**stored_bytes(tmp_path / "s"), "3.png": whole["3.png"]} == whole
    again = run(2)
    assert (again.done, again.skipped, again.failed) == (1, NUM_IMAGES - 1, {})
    assert run.reporter.started == [(1, "images")] and "8 of 9 images are in the store" in run.reporter.notes[0]
    assert stored_bytes(tmp_path / "s") == whole


def test_a_worker_commits_before_an_image_that_has_killed(run):
    def deadly(pool, worker, method, argument):
        return method == "decompose" and argument.key == "3.png"

    run(2, deadly)
    deaths = [index for index, (_, method, _) in enumerate(run.pool.log) if method == "died"]
    worker = run.pool.log[deaths[1]][0]
    before = [method for name, method, _ in run.pool.log[: deaths[1]] if name == worker]
    assert before[-1] in ("commit", "check_store", "start")


def test_the_run_ends_when_every_worker_dies(run):
    with pytest.raises(EngineError, match=r"15 workers crashed one after the other.*killed by the test"):
        run(2, lambda pool, worker, method, argument: method == "decompose")
    assert run.pool.workers == {}


def test_many_deaths_with_images_done_in_between_do_not_end_the_run(run, whole, tmp_path):
    assert run(1, lambda pool, worker, method, argument: method == "commit" and pool.num_added < 16).done == NUM_IMAGES
    assert run.pool.num_added == 16 and stored_bytes(tmp_path / "s") == whole
    assert run.reporter.count == NUM_IMAGES, "an image that is done again is counted once"


class NoRoom(InProcessPool):
    """The first worker is slow, and dies when the second is idle; no other worker ever starts."""

    def add(self, worker):
        super().add(worker)
        if self.num_added > 2:
            self.calls[worker].clear()

    def pick(self):
        slow, other = self.calls.get("ray-test-0", []), self.calls["ray-test-1"]
        if slow and slow[0][0] == "start":
            return "ray-test-0"
        return "ray-test-1" if other else "ray-test-0" if slow else None


@pytest.mark.parametrize("method", ["check_store", "decompose"])
def test_idle_workers_take_over_where_no_other_starts(run, whole, tmp_path, method):
    def dies(pool, worker, called, argument):
        return worker == "ray-test-0" and called == method

    outcome = run(2, dies, pool=NoRoom)
    assert outcome.done == NUM_IMAGES and stored_bytes(tmp_path / "s") == whole and run.pool.num_added == 3


def test_a_worker_that_dies_before_the_store_is_checked_is_replaced(run, whole, tmp_path):
    calls = iter([True, False, False, True])
    assert run(2, lambda pool, worker, method, argument: next(calls, False)).done == NUM_IMAGES
    assert run.pool.num_added == 4 and stored_bytes(tmp_path / "s") == whole


@pytest.mark.parametrize("seed", range(5))
def test_the_workers_share_the_check_of_the_store_and_repeat_a_part_whose_worker_dies(run, whole, tmp_path, seed):
    assert run(3).done == NUM_IMAGES
    assert len(list((tmp_path / "s" / "shards").glob("*.json"))) == 3
    dies = iter([True])

    def once(pool, worker, method, argument):
        return argument == (1, 4) and next(dies, False)

    outcome = run(4, once, seed)
    assert (outcome.done, outcome.skipped, outcome.damaged) == (0, NUM_IMAGES, [])
    checked = Counter(argument for _, method, argument in run.pool.log if method in ("check_store", "died"))
    assert checked == {(0, 4): 1, (1, 4): 2, (2, 4): 1, (3, 4): 1}
    assert stored_bytes(tmp_path / "s") == whole and verify(tmp_path / "s").ok


def test_damaged_shards_are_made_again(run, whole, tmp_path):
    run(1)
    (shard,) = (tmp_path / "s" / "shards").glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    outcome = run(2)
    assert outcome.done == NUM_IMAGES and len(outcome.damaged) == 1 and stored_bytes(tmp_path / "s") == whole


def interrupt_after_three(count):
    if count == 3:
        raise KeyboardInterrupt


def test_ctrl_c_commits_and_the_next_run_continues(run, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(2, then=interrupt_after_three)
    kept = stored_bytes(tmp_path / "s")
    assert 3 <= len(kept) == run.outcome.done < NUM_IMAGES and run.pool.workers == {}
    outcome = run(2)
    assert (outcome.done, outcome.skipped) == (NUM_IMAGES - len(kept), len(kept))
    assert stored_bytes(tmp_path / "s") == whole


def test_what_dies_while_the_run_is_stopped_is_not_counted_as_done(run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(2, lambda pool, worker, method, argument: method == "commit", then=interrupt_after_three)
    assert run.outcome.done == 0 and list(FeatureStore.open(tmp_path / "s")) == []
    assert run.outcome.failed == {} and FeatureStore.open(tmp_path / "s").failures == {}


def test_a_full_disk_while_the_run_is_stopped_is_named(run, tmp_path, monkeypatch):
    def commit(writer):
        raise DiskError("no space left")

    monkeypatch.setattr(StoreWriter, "commit", commit)
    with pytest.raises(KeyboardInterrupt):
        run(2, then=interrupt_after_three)
    notes = run.reporter.notes
    assert (
        sum("a worker on node" in note and "could not store what it had: no space left" in note for note in notes) == 2
    )
    assert run.outcome.done == 0 and run.pool.workers == {}


class Vanishing(InProcessPool):
    """A pool that is gone once the run is stopped."""

    def next_reply(self, timeout_s=None):
        if timeout_s is not None:
            raise ConnectionError("the cluster is gone\nsecond line")
        return super().next_reply()


def test_a_pool_that_is_gone_while_the_run_is_stopped_is_named(run):
    with pytest.raises(KeyboardInterrupt):
        run(2, then=interrupt_after_three, pool=Vanishing)
    assert run.reporter.notes[-1] == ("the workers cannot be reached, and may not have stored all: the cluster is gone")


class Refusing:
    """A worker on a node without a GPU."""

    def __init__(self, node):
        self._node = node

    def start(self):
        raise EngineError(f"on node {self._node}: no GPU here.")


@pytest.mark.parametrize("seed", range(3))
def test_nodes_that_cannot_take_part_are_named_once_and_the_others_continue(run, whole, tmp_path, seed):
    def half(make_worker, dies, seed):
        def make(name):
            number = int(name.rpartition("-")[2])
            return Refusing(f"node{number % 4}") if number % 2 else make_worker(name)

        return InProcessPool(make, dies, seed)

    assert run(6, seed=seed, pool=half).done == NUM_IMAGES
    assert sorted(run.reporter.notes) == ["on node node1: no GPU here.", "on node node3: no GPU here."]
    assert stored_bytes(tmp_path / "s") == whole


def test_the_reason_is_the_error_where_no_worker_can_take_part(run):
    with pytest.raises(EngineError) as caught:
        run(3, pool=lambda make_worker, dies, seed: InProcessPool(lambda name: Refusing("node1"), dies, seed))
    assert str(caught.value) == "no worker can take part.\non node node1: no GPU here."
    assert run.reporter.notes == [] and run.run.about is None


def test_a_store_of_other_settings_is_refused(run, tmp_path):
    run(1)
    meta = json.loads((tmp_path / "s" / "meta.json").read_text())
    (tmp_path / "s" / "meta.json").write_text(json.dumps(meta | {"layer": 3}))
    with pytest.raises(EngineError, match="made with other settings"):
        run(2)


def test_a_full_disk_ends_the_run(run, monkeypatch):
    def full(writer):
        raise DiskError("no space left")

    monkeypatch.setattr(StoreWriter, "commit", full)
    monkeypatch.setattr(module, "GRACE_S", 1.0)
    with pytest.raises(DiskError, match=r"on node .*: no space left"):
        run(2)
    assert run.pool.workers == {}


def test_two_runs_on_one_store(run, whole, tmp_path):
    """The second starts, works and ends in the middle of the first."""
    inner = []

    def nested(count):
        if count == 2 and not inner:
            inner.append(None)
            inner[0] = run(2, seed=7)

    outer = run(2, then=nested)
    assert stored_bytes(tmp_path / "s") == whole and verify(tmp_path / "s").ok
    assert inner[0].done == NUM_IMAGES and outer.total == NUM_IMAGES


class Pretending:
    """A worker without a ViT; commits at random."""

    def __init__(self, rng, bad, committed):
        self._rng, self._bad, self._committed, self._pending = rng, bad, committed, []

    def start(self):
        return Started("node", {})

    def check_store(self, part):
        return CheckedPart(frozenset(), ())

    def decompose(self, file):
        if file.key in self._bad:
            return Answer({file.key: "unreadable"}, frozenset(), {})
        self._pending.append(file.key)
        return self._commit(self._rng.randint(0, len(self._pending)))

    def commit(self):
        return self._commit(len(self._pending))

    def _commit(self, count):
        committed, self._pending = self._pending[:count], self._pending[count:]
        self._committed.update(committed)
        return Answer({}, frozenset(committed), {})


counts = st.integers(0, 12)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 25),
    st.integers(1, 5),
    st.sets(counts, max_size=3),
    st.sets(counts, max_size=4),
    st.integers(0, 5),
    st.data(),
)
def test_every_image_is_stored_or_failed_or_set_aside(
    tmp_path_factory, num_images, num_workers, killing, bad, num_kills, data
):
    rng = random.Random(data.draw(st.integers(0, 10**6)))
    files = [ImageFile(f"{index}.png", Path(f"{index}.png")) for index in range(num_images)]
    killing, bad = ({f"{index}.png" for index in group} & {file.key for file in files} for group in (killing, bad))
    kills, steps = set(rng.sample(range(40), num_kills)), iter(range(10**6))
    committed, deaths = Counter(), Counter()

    def dies(pool, worker, method, argument):
        died = next(steps) in kills or (method == "decompose" and argument.key in killing)
        if died and method == "decompose":
            deaths[argument.key] += 1
        return died

    store = tmp_path_factory.mktemp("any")
    (store / "failures").mkdir()
    pool = InProcessPool(lambda name: Pretending(rng, bad, committed), dies, rng.randint(0, 10**6))
    outcome = Outcome(total=num_images)
    run = PoolRun(pool, files, store, "w", num_workers, outcome, Recorder())
    run.work()
    run.close()
    set_aside = {key for key, reason in outcome.failed.items() if reason.startswith(SET_ASIDE)}
    assert set(committed) | set(outcome.failed) == {file.key for file in files} and outcome.left == 0
    assert set_aside == {key for key, number in deaths.items() if number == 2} and max(deaths.values(), default=0) <= 2
    assert killing <= set_aside and set(outcome.failed) - set_aside <= bad
    if not num_kills:
        assert set_aside == killing and set(committed.values()) <= {1}
    assert pool.workers == {}
