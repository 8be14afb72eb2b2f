"""Options as a person writes them in YAML -> a dataclass of options, checked by its annotations."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from enum import Enum
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from dvt.errors import ConfigError

T = TypeVar("T")

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def options_of(kind: type[T], given: Any, where: str) -> T:
    """A dataclass of options with the given ones changed.

    Args:
        kind: the dataclass; every option has a default.
        given: options by name; those of a group as a mapping inside.
        where: where they stand, for errors: `tasks[0].options`.

    Raises:
        ConfigError: an option that does not exist, or a value that it does not take.

    Examples:
        >>> from dvt.evaluation.config.segmentation import KnnSegmentationConfig
        >>> options_of(KnnSegmentationConfig, {"num_train": 40, "layouts": ["usual"]}, "options").num_train
        40
        >>> options_of(KnnSegmentationConfig, {"num_trian": 40}, "options")
        Traceback (most recent call last):
        dvt.errors.ConfigError: options.num_trian does not exist: did you mean num_train?
    """
    changed = _changed(kind(), given, where)
    assert isinstance(changed, kind)
    return changed


def require_names(given: Any, known: list[str], where: str) -> dict[str, Any]:
    """What was given, as a mapping of known names.

    Raises:
        ConfigError: it is no mapping, or has an unknown name; with the nearest known ones.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} is {given!r}: give a mapping of {', '.join(known)}.")
    for name in given:
        if name not in known:
            near = get_close_matches(str(name), known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}."
            raise ConfigError(f"{where}.{name} does not exist: {hint}")
    return dict(given)


def _changed(default: Any, given: Any, where: str) -> Any:
    hints = get_type_hints(type(default))
    values = {}
    for name, value in require_names(given, [entry.name for entry in fields(default)], where).items():
        current, place = getattr(default, name), f"{where}.{name}"
        values[name] = _changed(current, value, place) if is_dataclass(current) else _value(value, hints[name], place)
    try:
        return replace(default, **values)  # a group may start from other values than those of its class
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _value(value: Any, hint: Any, where: str) -> Any:
    """A value, as an annotation has it.

    Raises:
        ConfigError: it is of another type, or none of the choices.
    """
    if hint is Any:
        return value
    if get_origin(hint) in (Union, UnionType):
        (inner,) = (each for each in get_args(hint) if each is not NoneType)
        return None if value is None else _value(value, inner, where)
    if get_origin(hint) is list:
        if not isinstance(value, list):
            raise ConfigError(f"{where} is {value!r}: give a list, [...].")
        (inner,) = get_args(hint)
        return [_value(each, inner, f"{where}[{number}]") for number, each in enumerate(value)]
    if issubclass(hint, Enum):
        if value not in [member.value for member in hint]:
            raise ConfigError(f"{where} is {value!r}: give one of {', '.join(str(each.value) for each in hint)}.")
        return hint(value)
    if type(value) is hint:
        return value
    if hint is float and type(value) is int:
        return float(value)
    raise ConfigError(f"{where} is {value!r}: give {_WORDS.get(hint, hint.__name__)}.")
