import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvt.errors import StoreError
from dvt.store.keys import check_key, nearest_keys

PART = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/"), min_size=1, max_size=12).filter(
    lambda part: part not in {".", ".."}
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PART, min_size=1, max_size=4).map("/".join).filter(lambda key: key[1:3] not in {":/", ":\\"}))
def test_relative_paths_are_keys(key):
    assert check_key(key) == key


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("a./:\\\n\x7f \ud800é"), max_size=8))
def test_what_passes_is_a_plain_relative_path(key):
    try:
        check_key(key)
    except StoreError:
        return
    path = PurePosixPath(key)
    assert key and str(path) == key and key != "."
    assert not path.is_absolute() and ".." not in path.parts
    assert not any(unicodedata.category(character) in {"Cc", "Cs"} for character in key)
    key.encode()


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "is empty"),
        (".", "names a folder"),
        ("/a/cat.jpg", "is absolute"),
        ("C:/a/cat.jpg", "is absolute"),
        ("../cat.jpg", "leads upwards"),
        ("a/../cat.jpg", "leads upwards"),
        ("a/..", "leads upwards"),
        ("a//cat.jpg", "shortest form 'a/cat.jpg'"),
        ("./cat.jpg", "shortest form 'cat.jpg'"),
        ("a/", "shortest form 'a'"),
        ("cat\n.jpg", "control characters"),
        ("cat\x00.jpg", "control characters"),
        ("cat\udce9.jpg", "not valid Unicode"),
    ],
)
def test_refusals_say_why(key, reason):
    with pytest.raises(StoreError, match="cannot be the key") as caught:
        check_key(key)
    assert reason in str(caught.value)


def test_dots_that_do_not_lead_upwards_are_kept():
    for key in ("..cat.jpg", "a..b/c.jpg", ".hidden/cat.jpg", "a/...", "cat:/dog.jpg"):
        assert check_key(key) == key


def test_nearest_keys_know_typos_and_other_folders():
    keys = sorted(["animals/cat.jpg", "animals/dog.jpg", "people/anna.png"])
    assert nearest_keys("animals/cta.jpg", keys)[0] == "animals/cat.jpg"
    assert nearest_keys("anna.png", keys)[0] == "people/anna.png"
    assert nearest_keys("zzz", keys) == []
    assert nearest_keys("a", []) == []
