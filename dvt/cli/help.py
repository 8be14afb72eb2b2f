"""Help pages for people: made from the dataclasses and their docstrings, so that they cannot go stale."""

import ast
import inspect
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from textwrap import dedent, wrap
from typing import Any

_WIDTH = 110
_INDENT = 34

FLAGS = """\
-m                    sweep: every combination of comma-separated values, quality=fast,paper
-c job                print the options that would be used, do nothing
--config-dir FOLDER   further configs of your own
-h, --help            this page"""


def option_lines(kind: type, prefix: str = "") -> list[str]:
    """A line or two for every option of a dataclass: name, default, meaning."""
    docs, shown = attribute_docs(kind), kind()
    lines: list[str] = []
    groups: list[str] = []
    for entry in fields(kind):
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
        for entry, after in zip(body, body[1:], strict=False):
            if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name):
                text = (
                    after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
                )
                docs[entry.target.id] = " ".join(str(text).split())
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
