"""`quality`: named option sets of stage 1, stored in `configs/quality/*.yaml` as changes to the defaults."""

from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from dvt.decomposition.config import DecomposeConfig
from dvt.errors import ConfigError
from dvt.numbers import takes_numbers
from dvt.options import option_paths
from dvt.shipped import shipped


def config_folder() -> Path:
    """The folder of YAML configs."""
    return shipped("configs")


def qualities() -> list[str]:
    """Valid values of `quality`."""
    return sorted(path.stem for path in (config_folder() / "quality").glob("*.yaml"))


@takes_numbers
def load_quality(name: str, overrides: dict[str, Any] | None = None) -> DecomposeConfig:
    """The options of a quality, with overrides.

    Args:
        name: one of `qualities()`.
        overrides: options by name, such as `solver="gradient"`. An option of a group is given by its own name if that
            is unique, `num_views=64`, or with its group, `views={"num_views": 64}`.

    Raises:
        ConfigError: an unknown name or invalid value; the message lists the nearest valid ones.
    """
    if name not in qualities():
        raise ConfigError(f"quality={name!r} does not exist: give one of {', '.join(qualities())}.")
    config = DecomposeConfig()
    changes = yaml.safe_load((config_folder() / "quality" / f"{name}.yaml").read_text()) or {}
    for key, value in (overrides or {}).items():
        changes = _joined(changes, _locate(config, key, value))
    merge(config, changes, "")  # all at once: some values are valid only together
    return config


def _joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Merge two nested mappings; `other` takes precedence."""
    result = dict(one)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _joined(result[key], value) if both else value
    return result


def merge(config: Any, changes: dict[str, Any], path: str) -> None:
    """Set options of a (nested) dataclass in place, checking names and values."""
    hints = get_type_hints(type(config))
    for key, value in changes.items():
        if key not in hints:
            raise _unknown(f"{path}{key}", [f"{path}{name}" for name in hints])
        current = getattr(config, key)
        if is_dataclass(current):
            if not isinstance(value, dict):
                raise ConfigError(f"{path}{key} is a group of options: give them as a mapping, not {value!r}.")
            merge(current, value, f"{path}{key}.")
        else:
            setattr(config, key, _convert(value, type(current), f"{path}{key}"))
    config.__post_init__() if hasattr(config, "__post_init__") else None


def _convert(value: Any, kind: type, name: str) -> Any:
    if issubclass(kind, Enum):
        if value in [member.value for member in kind]:
            return kind(value)
        raise ConfigError(f"{name}={value!r}: give one of {', '.join(str(member.value) for member in kind)}.")
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    raise ConfigError(f"{name}={value!r}: give a value of type {kind.__name__}.")


def _locate(config: Any, key: str, value: Any) -> dict[str, Any]:
    """Nest an option into its group if the group is not given."""
    if key in {entry.name for entry in fields(config)}:
        return {key: value}
    known = option_paths(type(config))
    same_end = [path for path in known if path.split(".")[-1] == key]
    if len(same_end) != 1:
        if same_end:
            raise ConfigError(f"{key!r} names several options: {', '.join(same_end)}. Give it inside its group.")
        raise _unknown(key, [path.split(".")[-1] for path in known])
    for name in reversed(same_end[0].split(".")):
        value = {name: value}
    return value  # type: ignore[no-any-return]


def _unknown(name: str, known: list[str]) -> ConfigError:
    near = get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}."
    return ConfigError(f"there is no option {name!r}: {hint}")
