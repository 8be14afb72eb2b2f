"""What the options of all verbs share: named choices, checks of ranges, names in nested groups. Imports no torch."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from math import inf, isfinite
from typing import Any, get_args, get_origin, get_type_hints

from dvt.errors import ConfigError


class Choice(str, Enum):
    """An option with named values; printed as its value."""

    def __str__(self) -> str:
        return str(self.value)


def check_type(name: str, value: object, kind: type | tuple[type, ...], way_out: str) -> None:
    """Refuse an argument of another type; None passes.

    Args:
        name: of the argument.
        value: what was given.
        kind: the type or types that are right.
        way_out: what to give.

    Raises:
        ConfigError: names the argument, its type and the way out.

    Examples:
        >>> check_type("config", {"num_steps": 3}, list, "give a list.")
        Traceback (most recent call last):
        dvt.errors.ConfigError: config is of type dict: give a list.
    """
    if value is not None and not isinstance(value, kind):
        raise ConfigError(f"{name} is of type {type_name(value)}: {way_out}")


def type_name(value: object) -> str:
    """The type of a value, with its module where it is not a builtin one: `timm.models.resnet.ResNet`."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def check_range(
    config: Any,
    *names: str,
    least: float = -inf,
    most: float = inf,
    above: float = -inf,
    below: float = inf,
    group: str = "",
) -> None:
    """Refuse options outside least <= value <= most and above < value < below, NaN included; None passes.

    Args:
        config: holds the options.
        names: their names.
        least: smallest allowed value.
        most: largest allowed value.
        above: a value that is too small.
        below: a value that is too large.
        group: prefix of the names on the command line, "windows.".

    Raises:
        ConfigError: names the option, its value and the bound.
    """
    for name in names:
        value = getattr(config, name)
        if value is None:
            continue
        for bound, holds, words in (
            (least, value >= least, "at least"),
            (most, value <= most, "at most"),
            (above, value > above, "a number above"),
            (below, value < below, "a number below"),
        ):
            if isfinite(bound) and not holds:
                raise ConfigError(f"{group}{name}={value}: give {words} {bound}.")


def check_each_once(name: str, values: Sequence[str], kind: type[Choice]) -> None:
    """Refuse a list of choices that is empty, or has one of them twice.

    Raises:
        ConfigError: names the option and its choices.
    """
    if not values or len(set(values)) < len(values):
        given = ",".join(map(str, values))
        raise ConfigError(f"{name}=[{given}]: give at least one of {', '.join(map(str, kind))}, and each once.")


def walk(options: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every option and group of options; a group comes before its options."""
    for entry in fields(options):
        name, value = f"{prefix}{entry.name}", getattr(options, entry.name)
        yield name, value
        if is_dataclass(value):
            yield from walk(value, f"{name}.")


def option_paths(kind: type) -> list[str]:
    """Dotted names of all options and groups of a dataclass."""
    return [name for name, _ in walk(kind())]


def text_paths(kind: type, prefix: str = "") -> set[str]:
    """Dotted names of the options of a dataclass that hold free text: names, paths, patterns."""
    found, types = set(), get_type_hints(kind)
    for entry in fields(kind):
        of_entry = types[entry.name]
        if is_dataclass(of_entry):
            assert isinstance(of_entry, type)
            found |= text_paths(of_entry, f"{prefix}{entry.name}.")
        elif str in (of_entry, *get_args(of_entry)) and get_origin(of_entry) is not list:
            found.add(prefix + entry.name)
    return found
