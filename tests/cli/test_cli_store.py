"""`dvt store` tells what is in a store and whether it is whole, and deletes what crashes left."""

import os
import shutil

import pytest
from noise import write_noise

from dvt.cli.main import run


@pytest.fixture(scope="session")
def store_of_two(tiny_options, tmp_path_factory):
    """photos/ with two images and a broken one, and `my store` of them."""
    folder = tmp_path_factory.mktemp("store")
    for number, name in enumerate(("a.png", "b.png")):
        write_noise(folder / "photos" / name, (70, 90), number)
    (folder / "photos/text.png").write_text("no")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(["decompose", *tiny_options, "images=photos", "store=my store"]) == 3
    return folder


@pytest.fixture
def store(store_of_two, tmp_path):
    shutil.copytree(store_of_two, tmp_path, dirs_exist_ok=True)
    return tmp_path / "my store"


@pytest.mark.parametrize("given", ["my store", "store=my store"])
def test_a_whole_store(dvt, store, given):
    status = dvt("store", "status", given)
    assert status.code == 0 and status.err == ""
    for line in (
        "records    2 in 1 shards",
        "failed     1",
        "quality=tiny",
        "4 x 4 x 192 float16",
        "after the final norm",
    ):
        assert line in status.out
    verified = dvt("store", "verify", given)
    assert verified.code == 0 and "2 records in 1 shards" in verified.out


def test_the_home_of_a_user_who_does_not_exist(dvt, store):
    found = dvt("store", "status", "~no-such-user/x")
    assert found.code == 2 and "there is no feature store at ~no-such-user/x" in found.err


def test_a_damaged_store_is_told_and_mended_by_the_same_command(dvt, tiny, store):
    (shard,) = (store / "shards").glob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    verified = dvt("store", "verify", "my store")
    assert verified.code == 3 and "damaged:" in verified.out and "dvt decompose" in verified.out
    mended = tiny("decompose", "images=photos", "store=my store")
    assert mended.code == 3 and "damaged:" in mended.err and "2 done" in mended.err
    assert dvt("store", "verify", "my store").code == 0


def test_what_a_crash_left_an_hour_ago_is_deleted(dvt, store):
    old, new = (
        store / "shards" / "0of1-000009-deadbeef.safetensors",
        store / "shards" / "0of1-000010-deadbeef.safetensors",
    )
    old.write_bytes(b"half"), new.write_bytes(b"half")
    os.utime(old, (0, 0))
    cleaned = dvt("store", "clean", "my store")
    assert cleaned.code == 0 and cleaned.out == f"deleted shards/{old.name}\n"
    assert new.exists() and not old.exists()
    assert "nothing to delete" in dvt("store", "clean", "my store").out
    assert dvt("store", "verify", "my store").code == 0


def test_what_is_no_store(dvt, photo):
    photo("photos/a.png")
    assert "holds other files but no meta.json" in dvt("store", "verify", "photos").err
    assert "is a file" in dvt("store", "status", "photos/a.png").err
