"""Fleet, with real workers in this process: whoever dies, the store is that of a plain run."""

import json
import random

import pytest
from engine_jobs import NUM_IMAGES, Around, make_job
from in_process import InProcessCrew
from stored import stored_bytes

from dvt.cluster import fleet as module
from dvt.cluster.crew import Death
from dvt.cluster.fleet import GIVEN_UP, Fleet
from dvt.cluster.job import Job
from dvt.cluster.sight import Token
from dvt.cluster.worker import Refusal, Worker
from dvt.decomposition.outcome import Outcome
from dvt.errors import EngineError
from dvt.store import DiskError, FeatureStore, StoreWriter, verify


class Remembering(Around):
    """A method that runs the ViT once for each image."""

    def __init__(self, method):
        super().__init__(method)
        self._made = {}

    def __call__(self, image, key):
        if key not in self._made:
            self._made[key] = self._method(image, key)
        return self._made[key]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    backbone, method = make_job(tmp_path_factory.mktemp("any") / "s").load()
    return backbone, Remembering(method)


@pytest.fixture
def run(tmp_path, files, loaded, monkeypatch):
    """run(size, ...) decomposes the images into tmp_path/s by a crew that loads the ViT once for all."""
    monkeypatch.setattr(Job, "load", lambda job: loaded)

    def start(size, dies=lambda crew, worker, chunk: False, seed=0, on_progress=None, crew_type=InProcessCrew):
        job = make_job(tmp_path / "s")
        start.progress, start.notes, start.seen = Outcome(total=len(files)), [], []
        with Token(tmp_path / "s") as token:
            start.crew = crew_type(job, token.path, files[0].path.parent, dies, seed)
            start.fleet = Fleet(
                start.crew,
                files,
                tmp_path / "s",
                name="ray-test",
                size=size,
                progress=start.progress,
                on_progress=on_progress or (lambda progress, key: start.seen.append((progress.done, key))),
                on_note=start.notes.append,
            )
            try:
                start.fleet.work()
            finally:
                start.fleet.close()
        return start.progress

    return start


def test_all_is_done_and_every_worker_takes_part(run, whole, tmp_path):
    progress = run(3)
    assert (progress.done, progress.skipped, progress.failed, progress.left) == (NUM_IMAGES, 0, {}, 0)
    assert stored_bytes(tmp_path / "s") == whole and verify(tmp_path / "s").ok
    assert run.seen[0] == (0, "") and run.seen[-1][0] == NUM_IMAGES and run.notes == []
    shards = {path.name[:10] for path in (tmp_path / "s" / "shards").glob("*.json")}
    assert shards == {"ray-test-0", "ray-test-1", "ray-test-2"} and run.crew.workers == {}
    assert run.fleet.about["backbone"]["timm"].startswith("vit_tiny_patch16_224")


@pytest.mark.parametrize("seed", range(6))
def test_workers_that_die_now_and_then_change_nothing(run, whole, tmp_path, seed, monkeypatch):
    if seed % 2:  # every record is committed at once
        opened = StoreWriter.open
        monkeypatch.setattr(StoreWriter, "open", lambda *args, **options: opened(*args, **options, shard_bytes=1))
    rng = random.Random(seed)
    progress = run(2, lambda crew, worker, chunk: crew.hired < 8 and rng.random() < 0.3, seed)
    assert (progress.done, progress.left) == (NUM_IMAGES - len(progress.failed), 0)
    left = {key: value for key, value in whole.items() if key not in progress.failed}
    assert {key: value for key, value in stored_bytes(tmp_path / "s").items() if key in left} == left
    assert verify(tmp_path / "s").ok and run.crew.hired > 2
    assert run.notes and all("died; " in note and "dealt again" in note for note in run.notes)


def test_an_image_that_kills_is_given_up_and_the_next_run_tries_it_again(run, whole, tmp_path):
    def deadly(crew, worker, chunk):
        return chunk is not None and any(file.key == "3.png" for file in chunk.files)

    progress = run(2, deadly)
    assert (
        list(progress.failed) == ["3.png"]
        and progress.failed["3.png"].startswith(GIVEN_UP)
        and progress.done == NUM_IMAGES - 1
    )
    assert run.crew.hired == 2 + 3, "once among others at most, twice alone"
    assert FeatureStore.open(tmp_path / "s").failures == progress.failed
    assert {**stored_bytes(tmp_path / "s"), "3.png": whole["3.png"]} == whole
    again = run(2)
    assert (again.done, again.skipped, again.failed) == (1, NUM_IMAGES - 1, {})
    assert stored_bytes(tmp_path / "s") == whole


def test_where_everybody_dies_the_run_ends(run):
    with pytest.raises(EngineError, match=r"15 workers died one after the other.*killed by the test"):
        run(2, lambda crew, worker, chunk: chunk is not None)
    assert run.crew.workers == {}


def test_many_deaths_with_work_done_in_between_are_borne(run, whole, tmp_path):
    def unlucky(crew, worker, chunk):
        return chunk is not None and not chunk.files and crew.hired < 16

    assert run(1, unlucky).done == NUM_IMAGES and run.crew.hired == 16
    assert stored_bytes(tmp_path / "s") == whole


class NoRoomForMore(InProcessCrew):
    """The first worker is slow, and dies when the second has nothing left; another never gets a place."""

    def hire(self, worker):
        super().hire(worker)
        if self.hired > 2:
            self.calls[worker].clear()

    def hear(self, timeout_s=None):
        slow = self.calls.get("ray-test-0", [])
        if slow and slow[0][0] is not Worker.start and self.calls["ray-test-1"]:
            held, self.calls["ray-test-0"] = slow, []
            heard = super().hear(timeout_s)
            self.calls["ray-test-0"] = held + self.calls["ray-test-0"]
            return heard
        return super().hear(timeout_s)


def test_idle_workers_take_over_where_no_other_comes(run, whole, tmp_path):
    progress = run(2, lambda crew, worker, chunk: worker == "ray-test-0" and chunk is not None, 0, None, NoRoomForMore)
    assert progress.done == NUM_IMAGES and stored_bytes(tmp_path / "s") == whole and run.crew.hired == 3


def test_idle_workers_look_at_what_a_dead_one_did_not_where_no_other_comes(run, whole, tmp_path):
    calls = iter([False, True])
    progress = run(2, lambda crew, worker, chunk: worker == "ray-test-0" and next(calls), 0, None, NoRoomForMore)
    assert progress.done == NUM_IMAGES and stored_bytes(tmp_path / "s") == whole and run.crew.hired == 3


def test_a_worker_that_dies_before_or_during_the_survey_is_replaced(run, whole, tmp_path):
    calls = iter([True, False, False, True])
    assert run(2, lambda crew, worker, chunk: next(calls, False)).done == NUM_IMAGES
    assert run.crew.hired == 4 and stored_bytes(tmp_path / "s") == whole


class Surveyed(InProcessCrew):
    """Notes which parts of the store are looked at; the first who looks at part 1 of 4 dies."""

    parts = ()

    def survey(self, worker, part):
        super().survey(worker, part)
        if part == (1, 4) and part not in self.parts:
            self.calls[worker][-1] = lambda worker: Death("killed by the test"), None
        self.parts += (part,)


@pytest.mark.parametrize("seed", range(5))
def test_the_workers_share_the_survey_and_a_part_whose_surveyor_dies_is_looked_at_again(run, whole, tmp_path, seed):
    assert run(3).done == NUM_IMAGES
    assert len(list((tmp_path / "s" / "shards").glob("*.json"))) == 3
    progress = run(4, seed=seed, crew_type=Surveyed)
    assert (progress.done, progress.skipped, progress.damaged) == (0, NUM_IMAGES, [])
    assert sorted(run.crew.parts) == [(0, 4), (1, 4), (1, 4), (2, 4), (3, 4)]
    assert stored_bytes(tmp_path / "s") == whole and verify(tmp_path / "s").ok


def test_damaged_shards_are_made_again(run, whole, tmp_path):
    run(1)
    (shard,) = (tmp_path / "s" / "shards").glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    progress = run(2)
    assert progress.done == NUM_IMAGES and len(progress.damaged) == 1 and stored_bytes(tmp_path / "s") == whole


def test_ctrl_c_commits_and_the_next_run_goes_on(run, whole, tmp_path):
    def impatient(progress, key):
        if progress.done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(2, on_progress=impatient)
    kept = stored_bytes(tmp_path / "s")
    assert 3 <= len(kept) == run.progress.done < NUM_IMAGES and run.crew.workers == {}
    progress = run(2)
    assert (progress.done, progress.skipped) == (NUM_IMAGES - len(kept), len(kept))
    assert stored_bytes(tmp_path / "s") == whole


def test_what_dies_while_the_run_is_stopped_is_not_counted_as_done(run, tmp_path):
    def impatient(progress, key):
        if progress.done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(2, lambda crew, worker, chunk: chunk is not None and not chunk.files, on_progress=impatient)
    assert run.progress.done == 0 and list(FeatureStore.open(tmp_path / "s")) == []
    assert run.progress.failed == {} and FeatureStore.open(tmp_path / "s").failures == {}


class HalfRefused(InProcessCrew):
    """Every second worker finds something missing, in two ways."""

    def hear(self, timeout_s=None):
        heard = super().hear(timeout_s)
        number = int(heard.worker.rpartition("-")[2])
        if number % 2 and heard.chunk is None:
            return type(heard)(heard.worker, Refusal(f"node{number % 4}", "no GPU here."))
        return heard


class AllRefused(InProcessCrew):
    def hear(self, timeout_s=None):
        return type(heard := super().hear(timeout_s))(heard.worker, Refusal("node1", "no GPU here."))


@pytest.mark.parametrize("seed", range(3))
def test_nodes_that_cannot_take_part_are_named_once_and_the_others_go_on(run, whole, tmp_path, seed):
    assert run(6, crew_type=HalfRefused, seed=seed).done == NUM_IMAGES
    assert sorted(run.notes) == ["on node node1: no GPU here.", "on node node3: no GPU here."]
    assert stored_bytes(tmp_path / "s") == whole


def test_where_no_worker_can_take_part_the_reason_is_the_error(run, tmp_path):
    with pytest.raises(EngineError) as caught:
        run(3, crew_type=AllRefused)
    assert str(caught.value) == "no worker can take part.\non node node1: no GPU here."
    assert run.notes == [] and run.fleet.about is None


def test_a_store_of_other_settings_is_refused(run, tmp_path, loaded, files):
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
    with pytest.raises(DiskError, match="no space left"):
        run(2)


def test_two_runs_on_one_store(run, whole, tmp_path):
    """The second begins, works and ends while the first is in the middle."""
    inner = []

    def nested(progress, key):
        if progress.done >= 2 and not inner:
            inner.append(None)
            inner[0] = run(2, seed=7)

    outer = run(2, on_progress=nested)
    assert stored_bytes(tmp_path / "s") == whole and verify(tmp_path / "s").ok
    assert inner[0].done == NUM_IMAGES and outer.total == NUM_IMAGES
