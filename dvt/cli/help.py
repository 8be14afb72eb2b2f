"""Help pages, made from the option dataclasses and their docstrings."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from itertools import pairwise
from textwrap import dedent, wrap
from types import ModuleType
from typing import Any

from dvt.backbone.catalogue import CATALOGUE
from dvt.cli.console import MISSING
from dvt.decomposition.quality import config_folder

MAX_LINES = 120
"""Longest page. Groups of options that do not fit have a page of their own, the largest first."""

_WIDTH = 110
_INDENT = 34

FLAGS = """\
-m, --multirun        sweep: every combination of comma-separated values, backbone=dino_small,mae_base
                      (${hydra:job.num} or ${hydra:runtime.choices.backbone} in a path gives each run its own)
    hydra/launcher=   joblib, submitit_local, submitit_slurm: run in parallel (pip install 'denoising-vit[sweep]')
    hydra/sweeper=    optuna: search for the best value of the verb's metric
    hydra.sweep.dir=  keep Hydra's records of the sweep here; without it they are deleted, except the job logs of
                      submitit (dvt_sweeps/)
-c, --cfg WHAT        check and print the options (job), those of Hydra (hydra) or both (all); run nothing
                      --resolve: interpolations filled in; -p, --package NAME: one part only
-i, --info [WHAT]     how Hydra found the options: defaults, defaults-tree, searchpath, plugins, config, all
-cd, --config-dir DIR your own configs: DIR/backbone/mine.yaml is backbone=mine
-cn, --config-name N  your own root config, DIR/N.yaml, which begins with defaults: [VERB, _self_]
-h, --help            this page; dvt VERB GROUP --help: the options of one group"""


def verb_page(verb: str, module: ModuleType, arguments: list[str]) -> str:
    """The page of a verb, or of the groups of options that the arguments name.

    Args:
        verb: the verb.
        module: its module, with `HEAD`, `Options`, `GROUPS` and `METRIC`.
        arguments: what was given beside `--help`; `task=X` names the group of the task X.
    """
    top, groups = _sections(module.Options)
    values = [value for argument in arguments for value in argument.removeprefix("task=").strip("[]").split(",")]
    if wanted := [name for name in groups if name in values]:
        lines = [line for name in wanted for line in ["", *groups[name]]]
        return "\n".join([f"dvt {verb}: options of {', '.join(wanted)}", *lines, "", f"All: dvt {verb} --help"])
    choices = [line for group in module.GROUPS for line in group_lines(verb, group)]
    flags = FLAGS if module.METRIC is None else FLAGS.replace("the verb's metric", module.METRIC)
    before = [module.HEAD, "", *(["Choices", *choices, ""] if choices else []), "Options", *top]
    after = ["", "Flags", *flags.splitlines()]
    short = [name for name in groups if name in getattr(module, "OWN_PAGES", ())]
    largest_first = sorted((name for name in groups if name not in short), key=lambda name: -len(groups[name]))
    while True:
        page = "\n".join([*before, *_shown(verb, groups, short), *after])
        if len(page.splitlines()) <= MAX_LINES or not largest_first:
            return page
        short.append(largest_first.pop(0))


def _shown(verb: str, groups: dict[str, list[str]], short: list[str]) -> list[str]:
    """The groups in full, then those with a page of their own, a line each."""
    lines = [line for name, group in groups.items() if name not in short for line in ["", *group]]
    if short:
        lines += ["", f"Further groups; their options: dvt {verb} GROUP --help"]
    for name, group in groups.items():
        if name in short:
            lines += _option(f"{name}.*", group[0].partition(": ")[2])
    return lines


def _sections(kind: type) -> tuple[list[str], dict[str, list[str]]]:
    """The lines of the options of a dataclass, and those of each of its groups with the groups inside."""
    docs, default = attribute_docs(kind), kind()
    groups = {
        entry.name: [f"{entry.name}: {docs[entry.name]}", *option_lines(value, f"{entry.name}.")]
        for entry in fields(kind)
        if is_dataclass(value := getattr(default, entry.name))
    }
    return list(_own_lines(default, "")), groups


def option_lines(options: Any, prefix: str = "") -> list[str]:
    """A line or two for every option of a dataclass: name, value, meaning; its groups last."""
    docs = attribute_docs(options.__class__)
    lines = list(_own_lines(options, prefix))
    for entry in fields(options):
        if is_dataclass(group := getattr(options, entry.name)):
            name = f"{prefix}{entry.name}"
            lines += ["", f"{name}: {docs[entry.name]}", *option_lines(group, f"{name}.")]
    return lines


def _own_lines(options: Any, prefix: str) -> Iterator[str]:
    """The options that are not groups; those of the class itself before inherited ones."""
    docs, own = attribute_docs(options.__class__), inspect.get_annotations(type(options))
    for entry in sorted(fields(options), key=lambda entry: entry.name not in own):
        value = getattr(options, entry.name)
        if not is_dataclass(value):
            yield from _option(f"{prefix}{entry.name}={_text(value)}", docs[entry.name])


@cache
def attribute_docs(kind: type) -> dict[str, str]:
    """The docstrings under the fields of a dataclass and its bases."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        tree = ast.parse(dedent(inspect.getsource(base)))
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for entry, after in pairwise(body):
            if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name):
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    docs[entry.target.id] = " ".join(str(after.value.value).split())
    return docs


def choices_of(verb: str, group: str) -> list[str]:
    """The choices of a config group."""
    folders = (config_folder() / group, config_folder() / verb / group)
    files = [path.stem for folder in folders for path in folder.glob("*.yaml")]
    return sorted([*files, *CATALOGUE] if group == "backbone" else files)


def group_lines(verb: str, group: str) -> list[str]:
    """The choices of a config group, wrapped."""
    text = f"{group}= {', '.join(choices_of(verb, group))}"
    return wrap(text, _WIDTH, subsequent_indent=" " * (len(group) + 2), break_on_hyphens=False)


def _option(name: str, doc: str) -> list[str]:
    text = wrap(doc, _WIDTH - _INDENT)
    if len(name) >= _INDENT - 2:
        return [f"  {name}", *(" " * _INDENT + line for line in text)]
    return [f"  {name}".ljust(_INDENT) + text[0], *(" " * _INDENT + line for line in text[1:])]


def _text(value: Any) -> str:
    if value == MISSING:
        return "(required)"
    if value is None:
        return "null"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
