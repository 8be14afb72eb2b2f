"""Arguments of a verb, prepared for Hydra: flags checked, paths quoted for its grammar, mistakes named."""

import re
from collections import deque
from difflib import get_close_matches
from pathlib import Path

from dvt.errors import ConfigError
from dvt.options import option_paths, text_paths
from dvt.paths import expand_home

PATH_OPTIONS = (
    "images", "image", "store", "out", "denoiser", "backbone.weights", "data", "distilled", "report_images",
    "hydra.sweep.dir", "hydra.run.dir",
)  # fmt: skip
"""Options that take paths, some of them names; their values complete to files."""

GROUPS = ("backbone", "quality", "engine", "recipe", "trainer", "logger", "experiment", "debug")
"""Options that choose a config file."""

MOVED = {
    ("decompose", "srt.finer"): "srt.fine",
    ("distill", "pictures"): "dataset",
    ("distill", "srt.finer"): "srt.fine",
    ("evaluate", "pictures"): "report_images",
    ("evaluate", "knn_segmentation.neighbours"): "knn_segmentation.num_neighbours",
    ("evaluate", "linear_depth.paper.workers"): "linear_depth.paper.num_workers",
    ("evaluate", "linear_segmentation.patches.lr"): "linear_segmentation.patches.learning_rate",
    ("evaluate", "linear_segmentation.windows.lr"): "linear_segmentation.windows.learning_rate",
    ("evaluate", "srt.finer"): "srt.fine",
    ("show", "srt.finer"): "srt.fine",
}
"""Verb and former name of an option or group of options -> its name today."""

RENAMED_CHOICES = {("train", "recipe", "default"): "paper"}
"""Verb, group and former name of a choice -> its name today."""

FLAG_VALUES = {
    "--multirun": "",
    "--cfg": "job hydra all",
    "--info": "all config defaults defaults-tree plugins searchpath",
    "--resolve": "",
    "--package": "NAME",
    "--config-dir": "FOLDER",
    "--config-name": "NAME",
    "--hydra-help": "",
}
"""Flags of a verb, and what they take."""

_NO_TEXT = re.compile(r"([+-]?[\d.]|\{|(true|false|inf|nan)$)", re.IGNORECASE)
"""Values that Hydra does not read as texts."""

_SHORT = {
    "-m": "--multirun",
    "-c": "--cfg",
    "-i": "--info",
    "-p": "--package",
    "-cd": "--config-dir",
    "-cn": "--config-name",
}


_SWEEP = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\(.*\)$")
"""Functions of Hydra that give the values of a sweep."""


def prepare(verb: str, schema: type, arguments: list[str], *, has_metric: bool = True) -> tuple[list[str], list[str]]:
    """The flags and the options as Hydra wants them. Texts are taken literally; `~/` is the home folder.

    Args:
        verb: the verb, for the messages.
        schema: dataclass of its options.
        arguments: the arguments after the verb.
        has_metric: whether the verb returns a number that a sweeper can optimise.

    Raises:
        ConfigError: an unknown flag, a flag without its value, flags that exclude each other, or an argument that is
            not `key=value`.
    """
    names, texts = option_paths(schema), text_paths(schema).union(PATH_OPTIONS)
    sweeps = "-m" in arguments or "--multirun" in arguments
    flags: list[str] = []
    options: list[str] = []
    rest = deque(arguments)
    while rest:
        argument = rest.popleft()
        if argument.startswith("-"):
            flags += _flag(verb, argument, rest)
        elif "=" in argument and not argument.startswith("~"):
            options.append(_option(verb, names, texts, argument, sweeps))
        else:
            raise ConfigError(_not_an_option(verb, names, argument))
    _check_together(verb, names, flags, options, has_metric)
    return flags, options


def moved_to(verb: str, name: str) -> str | None:
    """Today's name of an option that had another one; None for others."""
    for (of_verb, old), new in MOVED.items():
        if of_verb == verb and (name == old or name.startswith(f"{old}.")):
            return new + name[len(old) :]
    return None


def quote(text: str) -> str:
    """The text in quotes of Hydra's grammar, where a backslash is special before a quote only."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    backslashes = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{escaped[len(escaped) - backslashes :]}'"


def _flag(verb: str, argument: str, rest: deque[str]) -> list[str]:
    given, equals, value = argument.partition("=")
    flag = _SHORT.get(given, given)
    if flag not in FLAG_VALUES:
        near = get_close_matches(given, [*FLAG_VALUES, *_SHORT, "--help"], n=1, cutoff=0.75)
        hint = f"did you mean {near[0]}?" if near else f"`dvt {verb} --help` lists them. Options are key=value."
        if given in ("-sc", "--shell-completion"):
            hint = "it is written before any verb: dvt --shell-completion bash."
        raise ConfigError(f"there is no flag {given}: {hint}")
    takes = FLAG_VALUES[flag].split()
    if not takes:
        if equals:
            raise ConfigError(f"{given} takes no value, {value!r} was given.")
        return [flag]
    if not equals:
        alone = flag == "--info" and (not rest or rest[0] not in takes)
        value = takes[0] if alone else rest.popleft() if rest else ""
    if takes == ["FOLDER"] and not Path(value).is_dir():
        raise ConfigError(f"{given} {value}: there is no such folder. Give one with YAML files of your own.")
    if takes == ["NAME"] and not value:
        raise ConfigError(f"{given} takes a name.")
    if len(takes) > 1 and value not in takes:
        raise ConfigError(f"{given} takes {', '.join(takes[:-1])} or {takes[-1]}, for example {given} {takes[0]}.")
    return [flag, value]


def _check_together(verb: str, names: list[str], flags: list[str], options: list[str], has_metric: bool) -> None:
    """Refuse combinations without effect."""
    shown = [flag for flag in ("--cfg", "--info", "--hydra-help") if flag in flags]
    if len(shown) > 1 or (shown and "--multirun" in flags):
        raise ConfigError(f"{' and '.join([*shown, *(['-m'] if '--multirun' in flags else [])])} exclude each other.")
    for flag in ("--resolve", "--package"):
        if flag in flags and "--cfg" not in flags:
            raise ConfigError(f"{flag} belongs to --cfg: dvt {verb} --cfg job {flag} ...")
    if "--package" in flags:
        part = flags[flags.index("--package") + 1]
        if part not in (*names, "_global_") and not re.match(r"hydra(\.|$)", part):
            near = get_close_matches(part, names, n=1)
            hint = f"did you mean {near[0]}?" if near else "give a group of options."
            raise ConfigError(f"--package {part}: dvt {verb} has no such options; {hint}")
    sweeper = next((option for option in options if re.match(r"\+?hydra/sweeper=(?!basic$)", option)), None)
    if sweeper and not has_metric:
        raise ConfigError(
            f"{sweeper} optimises a number, and dvt {verb} returns none: dvt train, distill and evaluate do."
        )


def _option(verb: str, names: list[str], texts: set[str], argument: str, sweeps: bool) -> str:
    key, _, value = argument.partition("=")
    if not key.strip("+~ "):
        raise ConfigError(f"{argument!r} lacks the name of its option: they are written key=value.")
    if new := moved_to(verb, key.lstrip("+")):
        raise ConfigError(f"{argument}: {key.lstrip('+')} is now called {new}, write {new}={value}.")
    if key.startswith("+") and key.lstrip("+") in (*names, *GROUPS):
        raise ConfigError(f"{argument}: {key.lstrip('+')} is there already, write {argument.lstrip('+')}.")
    if key in GROUPS and (value == "null" or value.startswith("[")):
        raise ConfigError(f"{argument}: give one choice; to run several after each other write {key}=a,b and add -m.")
    if _is_group(key) and _NO_TEXT.match(value):
        return f"{key}={quote(value)}"  # Hydra takes the name of a choice, and fails on a number
    if renamed := RENAMED_CHOICES.get((verb, key, value)):
        raise ConfigError(f"{argument}: {key}={value} is now called {renamed}, write {key}={renamed}.")
    if key not in texts or (not value and key not in PATH_OPTIONS):
        return argument
    if not value:
        raise ConfigError(f"{argument} is empty: give a path.")
    return f"{key}={_text(value, sweeps)}"


def _is_group(key: str) -> bool:
    name = key.lstrip("+").partition("@")[0]
    return name in GROUPS or "/" in name


def _text(value: str, sweeps: bool) -> str:
    """A text, quoted unless it means something to Hydra: a list, values to sweep over, null, an interpolation."""
    if value == "null" or value[0] in "'\"" or "${" in value or (sweeps and _SWEEP.match(value)):
        return value
    several = "," in value and (sweeps or all(Path(part).exists() for part in value.split(",")))
    if (several or value[0] == "[") and not Path(value).exists():
        return value
    return quote(str(expand_home(value)) if value == "~" or value.startswith("~/") else value)


def _not_an_option(verb: str, names: list[str], argument: str) -> str:
    if argument.startswith("~"):
        return f"{argument}: options cannot be removed. Leave it out for its default, or give another value."
    if argument in names:
        return f"{argument} lacks its value: write {argument}=..., without blanks around the equals sign."
    if Path(argument).exists():
        first = next(name for name in PATH_OPTIONS if name in names)
        return f"{argument!r} is not an option: did you mean {first}={argument}?"
    return f"{argument!r} is not an option: they are written key=value; `dvt {verb} --help` lists them."
