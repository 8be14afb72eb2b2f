"""The marker in the store's folder, and waiting for a file to appear."""

from types import SimpleNamespace

import pytest
from cluster_jobs import make_job

from dvt.cluster import shared_files
from dvt.cluster.shared_files import StoreMarker, wait_until_visible
from dvt.cluster.worker import Worker
from dvt.errors import EngineError, StoreError
from dvt.files import TEMP_SUFFIX
from dvt.store import remove_leftovers, verify


def test_a_network_filesystem_is_given_time(tmp_path, monkeypatch):
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds
        if now[0] > 3:
            (tmp_path / "late").touch()

    monkeypatch.setattr(shared_files, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    wait_until_visible(tmp_path / "late", "x", patience_s=5)
    with pytest.raises(EngineError, match="x is not visible"):
        wait_until_visible(tmp_path / "never", "x", patience_s=5)
    assert 8 <= now[0] < 9


def test_the_marker_is_removed_and_so_is_a_folder_that_nobody_used(tmp_path):
    with StoreMarker(tmp_path / "s") as marker:
        assert marker.path.exists() and marker.path.parent == tmp_path / "s"
        marker.write()
    assert not (tmp_path / "s").exists()
    (tmp_path / "there").mkdir()
    with StoreMarker(tmp_path / "there"):
        pass
    assert list((tmp_path / "there").iterdir()) == []


def test_store_clean_removes_the_marker_of_a_killed_driver(files, tmp_path):
    with StoreMarker(tmp_path / "s") as marker:
        Worker(make_job(tmp_path / "s"), "w-0", marker.path, files[0].path.parent, patience_s=0.0).start()
    left = marker.path.with_name(f".driver-0{TEMP_SUFFIX}")
    left.touch()
    assert verify(tmp_path / "s").ok
    assert left.name in remove_leftovers(tmp_path / "s", older_than_s=0.0)


def test_a_folder_of_other_things_gets_no_marker(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(StoreError, match="not a feature store and not empty"), StoreMarker(tmp_path):
        pass
    with pytest.raises(StoreError, match="is a file"), StoreMarker(tmp_path / "notes.txt"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
