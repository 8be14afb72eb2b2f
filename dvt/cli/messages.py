"""What the person at the keyboard reads when options do not fit."""

import re
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from dvt.errors import DvtError


def usage_text(error: BaseException, verb: str, schema: type) -> str | None:
    """The text for an error that the user can mend, or None for one that is ours."""
    from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, DvtError):
        return str(error)
    if isinstance(error, MissingConfigException):
        return _unknown_choice(error)
    if isinstance(error, OverrideParseException):
        return f"{error}\nA value with blanks, commas or brackets needs quotes within quotes: 'key=\"value\"'."
    if isinstance(error, ConfigCompositionException | HydraException | OmegaConfBaseException):
        cause: Any = error.__cause__ or error
        if isinstance(cause, DvtError):
            return str(cause)
        return _unknown_option(error, verb, schema) or str(cause).splitlines()[0]
    return None


def option_paths(kind: type, prefix: str = "") -> list[str]:
    """Dotted names of all options of a dataclass."""
    names: list[str] = []
    default = kind()
    for entry in fields(kind):
        value = getattr(default, entry.name)
        names.append(f"{prefix}{entry.name}")
        if is_dataclass(value):
            names += option_paths(type(value), f"{prefix}{entry.name}.")
    return names


def _unknown_choice(error: Any) -> str:
    group, _, choice = str(error.missing_cfg_file or "").rpartition("/")
    options = sorted(error.options or [])
    if not options:
        return str(error)
    near = get_close_matches(choice, options, n=3)
    text = f"{group}={choice} does not exist: give {'one of ' if len(near) != 1 else ''}{', '.join(near or options)}."
    if group == "backbone":
        text += (
            f"\nAny other ViT of timm is given as backbone.timm={choice}; `dvt decompose --help` lists the catalogue."
        )
    return text


def _unknown_option(error: BaseException, verb: str, schema: type) -> str | None:
    """Names the nearest options where one does not exist."""
    found = re.search(r"Could not (?:override|append to) '([^']*)'", str(error)) or re.search(
        r"Key '([^']*)' (?:is )?not in", f"{error} {error.__cause__}"
    )
    cause = str(error.__cause__ or error)
    if found is None or ("not in" not in cause and "Could not override" not in cause):
        return None
    name = found.group(1)
    known = option_paths(schema)
    if name in known:
        return None
    last = [path for path in known if path.split(".")[-1] == name.split(".")[-1]]
    near = list(dict.fromkeys([*last, *get_close_matches(name, known, n=3, cutoff=0.5)]))[:3]
    hint = f"did you mean {' or '.join(near)}?" if near else f"`dvt {verb} --help` lists them."
    return f"there is no option {name!r}: {hint}"
