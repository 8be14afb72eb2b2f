"""Keys: names of images in a store, relative paths with extension."""

import difflib
import re
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import PurePosixPath

from dvt.errors import StoreError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_NEIGHBOURS = 50
_SCANNED = 10_000


def check_key(key: str) -> str:
    """Return a key, checked.

    A key is a relative POSIX path in its shortest form, with extension: `animals/cat.jpg`.

    Raises:
        StoreError: the key is empty, absolute, leads upwards, has control characters, is not valid Unicode or not
            in its shortest form.
    """
    fault = key_fault(key)
    if fault:
        raise StoreError(
            f"{key!r} cannot be the key of a record: it {fault}."
            " A key is a relative path with / between its parts, such as 'animals/cat.jpg'."
        )
    return key


def key_fault(key: str) -> str | None:
    """What is wrong with a key, to follow "it"; None for a valid key."""
    if not key:
        return "is empty"
    if _CONTROL.search(key):
        return "holds control characters; rename the file"
    if _SURROGATE.search(key):
        return "is not valid Unicode (a file name in another encoding); rename the file"
    if key.startswith("/") or _DRIVE.match(key):
        return "is absolute"
    parts = key.split("/")
    if ".." in parts:
        return "leads upwards with '..'"
    shortest = "/".join(part for part in parts if part not in {"", "."})
    if not shortest:
        return "names a folder"
    return None if shortest == key else f"is not in its shortest form {shortest!r}"


def nearest_keys(key: str, keys: Sequence[str], count: int = 3) -> list[str]:
    """Up to `count` keys that the user may have meant.

    Args:
        key: the key that was asked for.
        keys: the keys that there are, sorted.
        count: how many to return at most.
    """
    # Bounded work, a store may hold a million keys: neighbours in order, and files of the same name.
    place = bisect_left(keys, key)
    nearby = keys[max(0, place - _NEIGHBOURS) : place + _NEIGHBOURS]
    name = PurePosixPath(key).name
    same_name = [other for other in keys[:_SCANNED] if name and other.rpartition("/")[2] == name]
    close = difflib.get_close_matches(key, nearby, n=count)
    return list(dict.fromkeys([*same_name, *close]))[:count]
