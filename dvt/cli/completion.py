"""Shell completion: verbs, flags, options and choices. Hydra's completion engine does the options of a verb."""

from collections.abc import Iterable
from enum import Enum
from importlib import import_module
from typing import Any

from dvt.cli.arguments import FLAG_VALUES, GROUPS, PATH_OPTIONS
from dvt.paths import expand_home

SHELLS = ("bash", "zsh", "fish")
COMPLETE_FLAG = "--complete-line"
"""The flag by which the scripts ask for the candidates of a command line."""

_BASH = """\
_dvt_complete() {{
    local IFS=$'\\n'
    local word="${{COMP_LINE:0:$COMP_POINT}}"
    word="${{word##* }}"
    COMPREPLY=($(dvt {flag} "${{COMP_LINE:0:$COMP_POINT}}" 2>/dev/null))
    if [[ "$COMP_WORDBREAKS" == *=* && "$word" == *=* ]]; then
        COMPREPLY=("${{COMPREPLY[@]#"${{word%"${{word##*=}}"}}"}}")
    fi
}}
complete -o nospace -F _dvt_complete dvt"""
"""Bash completes the part after the last `=` where `=` separates words: the part before it is cut off."""
_ZSH = "autoload -Uz bashcompinit && bashcompinit\n" + _BASH
_FISH = "complete -c dvt -f -a '(dvt {flag} (commandline -cp) 2>/dev/null)'"


def script(shell: str) -> str:
    """The script that installs completion in a shell: `eval "$(dvt --shell-completion bash)"`."""
    return {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell].format(flag=COMPLETE_FLAG)


def candidates(line: str, verbs: Iterable[str]) -> list[str]:
    """What the last word of a command line can become, in full; a complete word ends in a space.

    Args:
        line: the command line up to the cursor, with `dvt` at its start.
        verbs: names of all verbs.
    """
    _, *words = line.split()
    word = "" if line.endswith(" ") or not words else words.pop()
    if not words:
        return [f"{verb} " for verb in verbs if verb.startswith(word)]
    verb, *given = words
    if verb not in verbs:
        return []
    if given and given[-1] in FLAG_VALUES and FLAG_VALUES[given[-1]].isupper():  # a folder or a name
        return _paths("", word)
    if word.startswith("-"):
        return [f"{flag} " for flag in [*FLAG_VALUES, "--help"] if flag.startswith(word)]
    key, equals, value = word.partition("=")
    if equals and key in PATH_OPTIONS:
        return _paths(f"{key}=", value)
    module = import_module(f"dvt.cli.{verb}")
    if not hasattr(module, "Options"):
        return _paths("", word)
    if equals and (values := _values(module.Options(), key)):
        return [f"{key}={each} " for each in values if each.startswith(value)]
    foreign = tuple(f"{group}=" for group in GROUPS if group not in module.GROUPS)
    found = _options(verb, module.Options, [each for each in given if "=" in each], word)
    return [each for each in found if not each.startswith(foreign)]


def _paths(prefix: str, start: str) -> list[str]:
    """Files and folders that begin with `start`; a `~` stays as typed."""
    folder, slash, name = start.rpartition("/")
    place = expand_home(f"{folder}{slash}" or ".")
    entries = sorted(place.iterdir()) if place.is_dir() else []
    return [
        f"{prefix}{folder}{slash}{entry.name}{'/' if entry.is_dir() else ' '}"
        for entry in entries
        if entry.name.startswith(name) and (name.startswith(".") or not entry.name.startswith("."))
    ]


def _values(options: Any, key: str) -> list[str]:
    """The values of an option that has few: a choice, true or false."""
    for part in key.split("."):
        options = getattr(options, part, None)
    if isinstance(options, Enum):
        return [str(member.value) for member in type(options)]
    return ["true", "false"] if isinstance(options, bool) else []


def _options(verb: str, schema: type, given: list[str], word: str) -> list[str]:
    """Options, groups and choices of a verb, by Hydra's engine; those of Hydra itself only where they are begun."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.plugins.completion_plugin import DefaultCompletionPlugin

    from dvt.cli.hydra_app import register
    from dvt.decomposition.quality import config_folder

    register(verb, schema)
    with initialize_config_dir(str(config_folder().absolute()), version_base="1.3"):
        engine = DefaultCompletionPlugin(GlobalHydra.instance().config_loader())
        found = engine._query(config_name=verb, line=" ".join([*given, word]))
    shown = [each for each in found if each.startswith("hydra") <= word.startswith("hydra")]
    return [each if each.endswith(("=", ".", "/")) else f"{each} " for each in shown if "_schema" not in each]
