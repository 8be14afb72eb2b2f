"""Job and Worker in this process."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from cluster_jobs import NoDevice, make_job
from stored import stored_bytes

from dvt.backbone.config import BackboneConfig
from dvt.cluster.shared_files import StoreMarker
from dvt.cluster.worker import Started, Worker
from dvt.errors import EngineError


def make_worker(job, files, marker, **changes):
    return Worker(job, "w-0", **{"marker": marker, "images": files[0].path.parent, "patience_s": 0.0} | changes)


@pytest.fixture
def marker(tmp_path):
    with StoreMarker(tmp_path / "s") as marker:
        yield marker.path


def test_a_worker_returns_what_it_did_and_what_is_committed(files, whole, marker, tmp_path):
    job = pickle.loads(pickle.dumps(make_job(tmp_path / "s")))
    worker = make_worker(job, files, marker)
    assert isinstance(worker.start(), Started)
    assert worker.check_store((0, 1)).done == frozenset()
    answer = worker.decompose(files[0])
    assert (answer.failed, answer.committed) == ({}, frozenset()) and answer.seconds["extract"] > 0
    assert worker.decompose(files[1]).failed == {}
    assert worker.commit().committed == {"0.png", "1.png"} == worker.check_store((0, 1)).done
    gone = replace(files[0], key="gone.png", path=files[0].path.with_name("gone.png"))
    assert list(worker.decompose(gone).failed) == ["gone.png"]
    worker.decompose(files[2])
    assert worker.commit().committed == {"2.png"} and worker.commit().committed == frozenset()
    assert stored_bytes(tmp_path / "s") == {key: whole[key] for key in ("0.png", "1.png", "2.png")}


def test_a_node_that_does_not_see_the_store_or_the_images_is_refused(files, marker, tmp_path):
    job = make_job(tmp_path / "s")
    with pytest.raises(EngineError, match=rf"on node \S+: the store {tmp_path / 's'} is not visible.*all nodes share"):
        make_worker(job, files, tmp_path / "other" / marker.name).start()
    with pytest.raises(EngineError, match=f"the folder of images {tmp_path / 'images'} is not visible"):
        make_worker(job, files, marker, images=tmp_path / "images").start()


def test_a_user_fixable_error_is_a_refusal(files, marker, tmp_path):
    for job, text in [
        (make_job(tmp_path / "s", NoDevice), "device=cuda does not exist"),
        (
            make_job(tmp_path / "s", backbone=BackboneConfig(weights="nowhere.pth")),
            f"{Path.cwd()}/nowhere.pth does not",
        ),
        (make_job(tmp_path / "s", version="0.0.1"), "0.0.1 on the driver"),
    ]:
        with pytest.raises(EngineError, match=rf"on node \S+: .*{text}"):
            make_worker(job, files, marker).start()


def test_paths_of_a_job_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = make_job("s", backbone=BackboneConfig(weights="vit.pth"))
    assert (job.store, job.backbone.weights) == (str(tmp_path / "s"), str(tmp_path / "vit.pth"))
    for name in (None, "random"):
        assert make_job("s", backbone=BackboneConfig(weights=name)).backbone.weights == name
