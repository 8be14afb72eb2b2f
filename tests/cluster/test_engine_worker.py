"""One worker, and what it has to see: plain objects in this process."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from engine_jobs import Refused, make_job
from stored import stored_bytes

from dvt.backbone.config import BackboneConfig
from dvt.cluster.job import Job
from dvt.cluster.sight import Token, check_sees
from dvt.cluster.worker import Refusal, Started, Worker
from dvt.errors import EngineError, StoreError
from dvt.files import TEMP_SUFFIX
from dvt.store import remove_leftovers, verify


def make_worker(job, files, token, **changes):
    return Worker(job, "w-0", **{"token": token, "images": files[0].path.parent, "patience_s": 0.0} | changes)


@pytest.fixture
def token(tmp_path):
    with Token(tmp_path / "s") as token:
        yield token.path


def test_a_worker_says_what_it_did_and_what_is_committed(files, whole, token, tmp_path):
    job = pickle.loads(pickle.dumps(make_job(tmp_path / "s")))
    worker = make_worker(job, files, token)
    assert isinstance(worker.start(), Started)
    assert worker.survey((0, 1)).done == frozenset()
    answer = worker.work(files[:2])
    assert (answer.done, answer.failed, answer.committed) == (("0.png", "1.png"), {}, ())
    assert answer.seconds["extract"] > 0
    assert set(worker.work(()).committed) == {"0.png", "1.png"} == set(worker.survey((0, 1)).done)
    gone = replace(files[0], key="gone.png", path=files[0].path.with_name("gone.png"))
    answer = worker.work([files[2], gone])
    assert answer.done == ("2.png",) and list(answer.failed) == ["gone.png"]
    worker.stop()
    assert worker.work(files[3:]).done == () and worker.work(()).committed == ("2.png",)
    assert stored_bytes(tmp_path / "s") == {key: whole[key] for key in ("0.png", "1.png", "2.png")}


def test_a_node_that_does_not_see_the_store_or_the_images_is_refused(files, token, tmp_path):
    job = make_job(tmp_path / "s")
    elsewhere = make_worker(job, files, tmp_path / "other" / token.name).start()
    assert isinstance(elsewhere, Refusal)
    assert f"the store {tmp_path / 's'} cannot be seen" in elsewhere.text and "all nodes share" in elsewhere.text
    assert str(elsewhere).startswith(f"on node {elsewhere.node}: the store")
    blind = make_worker(job, files, token, images=tmp_path / "photos").start()
    assert f"the folder of images {tmp_path / 'photos'} cannot be seen" in blind.text


def test_a_network_file_system_is_given_time(tmp_path):
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds
        if now[0] > 3:
            (tmp_path / "late").touch()

    check_sees(tmp_path / "late", "x", patience_s=5, clock=lambda: now[0], sleep=sleep)
    with pytest.raises(EngineError, match="x cannot be seen"):
        check_sees(tmp_path / "never", "x", patience_s=5, clock=lambda: now[0], sleep=sleep)
    assert 8 <= now[0] < 9


def test_what_a_person_can_mend_is_a_refusal(files, token, tmp_path):
    for job, part in [
        (make_job(tmp_path / "s", Refused), "device=cuda does not exist"),
        (
            make_job(tmp_path / "s", backbone=BackboneConfig(weights="nowhere.pth")),
            f"{Path.cwd()}/nowhere.pth does not",
        ),
        (make_job(tmp_path / "s", version="0.0.1"), "0.0.1 where the run was started"),
    ]:
        assert part in make_worker(job, files, token).start().text


def test_the_token_is_gone_afterwards_and_a_store_that_nobody_made_too(tmp_path):
    with Token(tmp_path / "s") as token:
        assert token.path.exists() and token.path.parent == tmp_path / "s"
        token.place()
    assert not (tmp_path / "s").exists()
    (tmp_path / "there").mkdir()
    with Token(tmp_path / "there"):
        pass
    assert list((tmp_path / "there").iterdir()) == []


def test_a_token_that_a_killed_driver_left_is_cleaned_up(files, token, tmp_path):
    make_worker(make_job(tmp_path / "s"), files, token).start()
    left = token.with_name(f".driver-0{TEMP_SUFFIX}")
    left.touch()
    assert verify(tmp_path / "s").ok
    assert left.name in remove_leftovers(tmp_path / "s", older_than_s=0.0)


def test_a_folder_of_other_things_gets_no_token(files, tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(StoreError, match="not a feature store and not empty"), Token(tmp_path):
        pass
    with pytest.raises(StoreError, match="is a file"), Token(tmp_path / "notes.txt"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_paths_of_a_job_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = make_job("s", backbone=BackboneConfig(weights="vit.pth"))
    assert (job.store, job.backbone.weights) == (str(tmp_path / "s"), str(tmp_path / "vit.pth"))
    for name in (None, "random"):
        assert make_job("s", Job, backbone=BackboneConfig(weights=name)).backbone.weights == name
