"""Help pages for people: made from the dataclasses and their docstrings, so that they cannot go stale."""

import ast
import inspect
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path
from textwrap import dedent, wrap
from typing import Any

from dvt.decomposition.quality import config_folder

_WIDTH = 110
_INDENT = 34

FLAGS = """\
-m                    sweep: every combination of comma-separated values, backbone=dino_small,mae_base
                      (${hydra:runtime.choices.backbone} in a path, say, gives each a place of its own)
-c job                print the options that would be used, do nothing
--config-dir FOLDER   further configs of your own: FOLDER/backbone/mine.yaml is backbone=mine
-h, --help            this page"""


def verb_page(usage: str, options: type, groups: Sequence[str] = ("backbone", "quality")) -> str:
    """The page of a verb: how it is called, what it takes, the config groups that it has."""
    choices = [line for group in groups for line in group_lines(config_folder(), group)]
    shown = ["Choices", *choices, ""] if choices else []
    return "\n".join([usage, "", *shown, "Options", *option_lines(options), "", "Flags", FLAGS])


def option_lines(kind: type, prefix: str = "") -> list[str]:
    """A line or two for every option of a dataclass: name, default, meaning; its own options before inherited ones."""
    docs, shown, own = attribute_docs(kind), kind(), inspect.get_annotations(kind)
    lines: list[str] = []
    groups: list[str] = []
    for entry in sorted(fields(kind), key=lambda entry: entry.name not in own):
        default = getattr(shown, entry.name)
        name = f"{prefix}{entry.name}"
        if is_dataclass(default):
            groups += ["", f"{name}: {docs[entry.name]}", *option_lines(type(default), f"{name}.")]
        else:
            lines += _option(f"{name}={_text(default)}", docs[entry.name])
    return lines + groups


def attribute_docs(kind: type) -> dict[str, str]:
    """The docstrings that stand under the fields of a dataclass and its bases."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        tree = ast.parse(dedent(inspect.getsource(base)))
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for entry, after in pairwise(body):
            if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name):
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    docs[entry.target.id] = " ".join(str(after.value.value).split())
    return docs


def group_lines(folder: Path, name: str) -> list[str]:
    """The choices of a config group."""
    options = ", ".join(sorted(path.stem for path in (folder / name).glob("*.yaml")))
    return wrap(f"{name}= {options}", _WIDTH, subsequent_indent=" " * (len(name) + 2), break_on_hyphens=False)


def _option(name: str, doc: str) -> list[str]:
    text = wrap(doc, _WIDTH - _INDENT)
    if len(name) >= _INDENT - 2:
        return [f"  {name}", *(" " * _INDENT + line for line in text)]
    return [f"  {name}".ljust(_INDENT) + text[0], *(" " * _INDENT + line for line in text[1:])]


def _text(value: Any) -> str:
    if value == "???":
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
