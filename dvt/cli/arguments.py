"""The arguments of a verb, made ready for Hydra: flags checked, paths quoted for its grammar, slips named."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from dvt.errors import ConfigError

PATH_OPTIONS = (
    "images", "image", "store", "out", "denoiser", "backbone.weights", "data", "distilled", "pictures",
)  # fmt: skip
"""Options that take paths, some of them names: what stands behind them is taken literally, `~` is the home folder."""

GROUPS = ("backbone", "quality", "engine", "recipe", "trainer", "logger")
"""Options that choose a file of `configs/`."""

_FLAGS = {"-m": "", "--multirun": "", "-c": "job", "--cfg": "job", "--config-dir": "FOLDER", "-cd": "FOLDER"}
"""Flags, and what follows them."""


def prepare(verb: str, names: list[str], arguments: list[str]) -> list[str]:
    """The arguments as Hydra wants them.

    Args:
        verb: the verb, for the messages.
        names: dotted names of its options.
        arguments: what stood behind the verb.

    Raises:
        ConfigError: a flag that does not exist or lacks its value, or an argument that is not `key=value`.
    """
    sweeps = "-m" in arguments or "--multirun" in arguments
    flags: list[str] = []
    options: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument.startswith("-"):
            flags += _flag(verb, argument, rest)
        elif "=" in argument and not argument.startswith("~"):
            options.append(_option(names, argument, sweeps))
        else:
            raise ConfigError(_not_an_option(verb, names, argument))
    return flags + options  # Hydra takes no flags between options


def quote(text: str) -> str:
    """The text in quotes of Hydra's grammar, in which a backslash counts before a quote only."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    backslashes = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{escaped[len(escaped) - backslashes :]}'"


def _flag(verb: str, argument: str, rest: Iterator[str]) -> list[str]:
    flag, equals, value = argument.partition("=")
    if flag not in _FLAGS:
        near = get_close_matches(flag, [*_FLAGS, "--help"], n=1, cutoff=0.75)
        hint = f"did you mean {near[0]}?" if near else f"`dvt {verb} --help` lists them. Options are key=value."
        raise ConfigError(f"there is no flag {flag}: {hint}")
    wanted = _FLAGS[flag]
    if not wanted:
        return [flag]
    value = value if equals else next(rest, "")
    if wanted == "FOLDER":
        if not Path(value).is_dir():
            raise ConfigError(f"{flag} {value}: there is no such folder. Give one with YAML files of your own.")
    elif value != wanted:
        raise ConfigError(f"{flag} takes {wanted}: {flag} {wanted} prints the options that would be used.")
    return [flag, value]


def _option(names: list[str], argument: str, sweeps: bool) -> str:
    key, _, value = argument.partition("=")
    if key.startswith("+") and key.lstrip("+") in (*names, *GROUPS):
        raise ConfigError(f"{argument}: {key.lstrip('+')} is there already, write {argument.lstrip('+')}.")
    if key in GROUPS and (value == "null" or value.startswith("[")):
        raise ConfigError(f"{argument}: give one choice; to run several after each other write {key}=a,b and add -m.")
    if key not in PATH_OPTIONS:
        return argument
    if not value:
        raise ConfigError(f"{argument} is empty: give a path.")
    return f"{key}={_path(value, sweeps)}"


def _path(value: str, sweeps: bool) -> str:
    """A path, quoted unless it means something to Hydra: a list, values to sweep over, null, an interpolation."""
    if value == "null" or value[0] in "'\"" or "${" in value:
        return value
    several = "," in value and (sweeps or all(Path(part).exists() for part in value.split(",")))
    if (several or value[0] == "[") and not Path(value).exists():
        return value
    is_home = value == "~" or value.startswith("~/")
    return quote(str(Path(value).expanduser()) if is_home else value)


def _not_an_option(verb: str, names: list[str], argument: str) -> str:
    if argument.startswith("~"):
        return f"{argument}: options cannot be taken away. Leave it out for its default, or give another value."
    if argument in names:
        return f"{argument} lacks its value: write {argument}=..., without blanks around the equals sign."
    if Path(argument).exists():
        return f"{argument!r} is not an option: did you mean {_first_path(names)}={argument}?"
    return f"{argument!r} is not an option: they are written key=value; `dvt {verb} --help` lists them."


def _first_path(names: list[str]) -> str:
    return next(name for name in PATH_OPTIONS if name in names)
