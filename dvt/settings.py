"""Settings of any kind are compared here and nowhere else: "was made with other settings"."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dvt.grid import PatchGrid

_ABSENT: Final = "nothing"


def differences(
    mine: Mapping[str, Any], theirs: Mapping[str, Any], this: str, that: str, *, strict: bool = False
) -> list[str]:
    """One line per setting, by dotted name, in which two nested mappings of settings differ.

    Args:
        mine: settings.
        theirs: the settings to compare with.
        this: what holds the first, for the text: "store".
        that: what holds the others.
        strict: values of different types differ as well, as in a hash of their JSON: 1 and 1.0, None and no entry.

    Examples:
        >>> differences({"layer": 5, "solver": {"sweeps": 8}}, {"layer": 3}, "store", "request")
        ['layer: 5 in the store, 3 in the request', 'solver.sweeps: 8 in the store, nothing in the request']
    """
    first, second = dict(leaves(mine)), dict(leaves(theirs))

    def same(name: str) -> bool:
        if strict:
            return (name in first, repr(first.get(name))) == (name in second, repr(second.get(name)))
        return bool(first.get(name) == second.get(name))

    def text(settings: Mapping[str, Any], name: str) -> str:
        return _text(settings[name]) if name in settings else _ABSENT

    return [
        f"{name}: {text(first, name)} in the {this}, {text(second, name)} in the {that}"
        for name in dict.fromkeys([*first, *second])
        if not same(name)
    ]


def leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings by dotted name, entries of lists of settings by number; an empty mapping is a value."""
    for name, value in settings.items():
        if isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
            value = {str(number): entry for number, entry in enumerate(value)}  # noqa: PLW2901
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _text(value: object) -> str:
    """A setting as an error shows it: a grid with its image size, all else as Python writes it."""
    if isinstance(value, PatchGrid):
        return f"{value.image_hw[0]} x {value.image_hw[1]} px, {value}"
    return repr(value)
