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


def test_file_systems_without_hard_links(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EPERM, "no hard links")

    monkeypatch.setattr(os, "link", refuse)
    assert create_exclusive(tmp_path / "a", b"one")
    assert not create_exclusive(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert names(tmp_path) == ["a"]


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
