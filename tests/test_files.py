import errno
import os

import pytest

from dvt.files import DiskError, create_exclusive, move_into_place, write_atomic


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_written_file_is_whole_and_alone(tmp_path):
    write_atomic(tmp_path / "a", b"one")
    write_atomic(tmp_path / "a", b"two, longer")
    assert (tmp_path / "a").read_bytes() == b"two, longer"
    assert names(tmp_path) == ["a"]


def test_the_first_to_create_wins(tmp_path):
    assert create_exclusive(tmp_path / "a", b"one")
    assert not create_exclusive(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK, errno.ENOTSUP])
def test_file_systems_without_hard_links(number, tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(number, "no hard links")

    monkeypatch.setattr(os, "link", refuse)
    assert create_exclusive(tmp_path / "a", b"one")
    assert not create_exclusive(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_file_systems_that_know_no_flush(number, tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(number, "no flush")

    monkeypatch.setattr(os, "fsync", refuse)
    write_atomic(tmp_path / "a", b"one")
    assert create_exclusive(tmp_path / "b", b"two")
    move_into_place(tmp_path / "b", tmp_path / "c")
    assert names(tmp_path) == ["a", "c"]


def test_a_flush_that_fails_is_an_error(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, "the disk failed")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskError, match="the disk failed"):
        write_atomic(tmp_path / "a", b"one")
    assert names(tmp_path) == []


def test_a_target_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(DiskError, match="cannot write"):
        write_atomic(tmp_path / "a", b"one")
    assert names(tmp_path) == ["a"]


def test_a_folder_that_is_gone_is_an_error_for_people(tmp_path):
    with pytest.raises(DiskError, match=r"cannot write .*fix the disk or the permissions"):
        write_atomic(tmp_path / "gone" / "a", b"one")


def test_what_was_written_aside_replaces_an_older_file(tmp_path):
    (tmp_path / "aside").write_bytes(b"new")
    (tmp_path / "a").write_bytes(b"old")
    move_into_place(tmp_path / "aside", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new" and names(tmp_path) == ["a"]
    with pytest.raises(DiskError, match="cannot write"):
        move_into_place(tmp_path / "aside", tmp_path / "a")
