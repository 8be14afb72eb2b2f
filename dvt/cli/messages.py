"""Messages about options that do not fit."""

import re
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any, get_type_hints

from dvt.cli.arguments import GROUPS, moved_to
from dvt.errors import DvtError
from dvt.options import option_paths

_PLUGINS = "pip install 'denoising-vit[sweep]' brings joblib, submitit_local, submitit_slurm and optuna."
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def usage_text(error: Exception, verb: str, schema: type) -> str | None:
    """The text for a user-fixable error, or None for a fault of ours."""
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if isinstance(error, DvtError):
        return str(error)
    if isinstance(error, MissingConfigException):
        return _unknown_choice(error, verb)
    if isinstance(error, OverrideParseException):
        return _unreadable(error)
    if isinstance(error, YAMLError):
        return f"a config of yours is not YAML: {error}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        cause: Any = error.__cause__ or error
        if isinstance(cause, DvtError):
            return str(cause)
        return (
            _ambiguous(str(error))
            or _misnamed(error, verb, schema)
            or _wrong_value(error, schema)
            or _first(str(cause))
        )
    return None


def unknown_option(name: str, verb: str, schema: type) -> str:
    """Message that an option does not exist, with its new name or the nearest names."""
    if new := moved_to(verb, name):
        return f"there is no option {name!r}: it is now called {new}."
    known = option_paths(schema)
    _, _, last = name.rpartition(".")
    same_end = [path for path in known if path.rpartition(".")[2] == last]
    one_slip = get_close_matches(name, known, n=1, cutoff=0.9)
    near = list(dict.fromkeys([*one_slip, *same_end]))[:2] or get_close_matches(name, known, n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"`dvt {verb} --help` lists them."
    return f"there is no option {name!r}: {hint}"


def _unknown_choice(error: Any, verb: str) -> str:
    group, _, choice = str(error.missing_cfg_file or "").rpartition("/")
    options = sorted(error.options or [])
    if group in ("hydra/launcher", "hydra/sweeper"):
        return f"{group}={choice} is not installed, or does not exist. Installed: {', '.join(options)}. {_PLUGINS}"
    if not options:
        return f"there is no group of choices {group!r}: `dvt {verb} --help` lists them."
    near = get_close_matches(choice, options, n=3) or options
    text = f"{group}={choice} does not exist: give {'one of ' if len(near) > 1 else ''}{', '.join(near)}."
    if group == "backbone":
        text += f"\nAny other ViT of timm: backbone.timm={choice}. `dvt {verb} --help` lists the catalogue."
    return text


def _unreadable(error: Any) -> str:
    reason = _first(str(error.__cause__ or error)).removeprefix("Error parsing override ")
    return (
        f"{error.override} cannot be read ({reason}). Lists are written [1,2]; a text with blanks, commas, brackets or"
        " equals signs needs quotes within quotes: 'key=\"text\"'."
    )


def _ambiguous(text: str) -> str | None:
    found = re.search(r"Ambiguous value for argument '([^=]*)=(.*?)'", text)
    if found is None:
        return None
    key, value = found.groups()
    if key in GROUPS:
        return f"{key}={value}: give one choice; to run all of them after each other add -m."
    return (
        f"{key}={value} can be read in several ways. A list: {key}=[{value}]. One text or path with commas:"
        f" '{key}=\"{value}\"'. A sweep, one run for each value: add -m."
    )


def _misnamed(error: Exception, verb: str, schema: type) -> str | None:
    """For an option that does not exist."""
    found = re.search(r"Could not override '([^']*)'", str(error)) or re.search(
        r"Key '([^']*)' (?:is )?not in", f"{error} {error.__cause__}"
    )
    if found is None or found[1] in option_paths(schema):
        return None
    return unknown_option(found[1], verb, schema)


def _wrong_value(error: Exception, schema: type) -> str | None:
    """For a value of another type than the option has."""
    cause: Any = error.__cause__ or error
    name = str(getattr(cause, "full_key", None) or "").partition("[")[0]  # patch[0] is an entry of patch
    given = re.search(r"Error merging override (\S.*)", str(error))
    if given is None or name not in option_paths(schema):
        return None
    return f"{given[1]}: give {_expected(name, schema)}."


def _expected(name: str, schema: type) -> str:
    """What an option takes, in words."""
    kind: Any = schema
    for part in name.split("."):
        kind = get_type_hints(kind)[part]
    if is_dataclass(kind):
        return f"its options one by one, {name}.{fields(kind)[0].name} and so on"
    alternatives = [kind, *getattr(kind, "__args__", ())]
    for part in alternatives:
        if isinstance(part, type) and issubclass(part, Enum):
            return f"one of {', '.join(str(member.value) for member in part)}"
        if getattr(part, "__origin__", None) is list:
            return f"a list, {name}=[...], every entry {_KINDS[part.__args__[0]]}"
    plain = next((part for part in alternatives if part in _KINDS), str)
    return f"{_KINDS[plain]}{' or null' if type(None) in alternatives else ''}"


def _first(text: str) -> str:
    """The first line, and the second where the first announces it."""
    first, *others = text.strip().splitlines() or [""]
    return f"{first} {others[0].strip()}" if first.endswith(":") and others else first
