"""What `mkdocs build` adds to docs/: the reference of all options, the benchmark records, links, the page of web/.

The options are read from the dataclasses that the command line reads them from, so that they cannot go stale. Needs
neither torch nor a GPU: `dvt.cli` is imported without them.
"""

import inspect
import posixpath
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dvt.backbone.catalogue import CATALOGUE
from dvt.cli.console import MISSING
from dvt.cli.help import FLAGS, attribute_docs
from dvt.cli.main import VERBS
from dvt.decomposition.quality import config_folder
from dvt.options import walk

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "records"
BROWSER_PAGE = ROOT / "build" / "web"
"""The page that runs a ViT in the browser, as `web/build.py` wrote it."""
BROWSER_INDEX = "browser/index.html"
"""Its place below docs/."""
LEFT_OUT = "This site was built without the page that runs a ViT in the browser: scripts/docs.sh says what it needs."
OPTIONS_PAGE = "reference/options.md"
GROUPS = ("quality", "recipe", "engine", "trainer", "logger")
"""Config groups whose files are shown; the group `backbone` is the catalogue."""
PAGE_NAMES = re.compile(r"(?<!\[)`(docs/[\w/.-]+\.md|benchmarks/records/[\w.-]+\.md)`")
RECORD_LINKS = re.compile(r"\]\((?:\.\./)+benchmarks/records/(?P<name>[\w.-]*)(?P<place>#[\w-]*)?\)")


def on_config(config: "MkDocsConfig") -> "MkDocsConfig":
    """Put the records into the navigation, the newest first."""
    for entry in config.nav or []:
        if isinstance(entry, dict) and "Benchmarks" in entry:
            entry["Benchmarks"] = ["benchmarks/README.md", *sorted(set(records()) - {"benchmarks/README.md"})[::-1]]
    return config


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the pages that are not in docs/."""
    from mkdocs.structure.files import File

    for name, text in generated_pages().items():
        files.append(File.generated(config, name, content=text))
    if not BROWSER_PAGE.is_dir():
        files.append(File.generated(config, BROWSER_INDEX, content=LEFT_OUT))
    for path in sorted(BROWSER_PAGE.rglob("*")):
        if path.is_file():
            place = posixpath.join(posixpath.dirname(BROWSER_INDEX), path.relative_to(BROWSER_PAGE).as_posix())
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: "Page", config: "MkDocsConfig", files: "Files") -> str:
    """Make links of the pages that a text names by their file."""
    return linked(markdown, page.file.src_uri)


def generated_pages() -> dict[str, str]:
    """Markdown by its place below docs/."""
    return {OPTIONS_PAGE: options_page(), **records()}


def records() -> dict[str, str]:
    """The records of benchmarks/records, by their place below docs/."""
    return {f"benchmarks/{path.name}": path.read_text(encoding="utf-8") for path in sorted(RECORDS.glob("*.md"))}


def linked(markdown: str, page: str) -> str:
    """Links that work on GitHub, made to work in the site; file names of pages made into links.

    Args:
        markdown: text of the page.
        page: its place below docs/, such as evaluation/depth.md.
    """
    here = posixpath.dirname(page) or "."

    def named(match: re.Match[str]) -> str:
        return f"[`{match[1]}`]({posixpath.relpath(_place(match[1]), here)})"

    def record(match: re.Match[str]) -> str:
        target = posixpath.relpath(f"benchmarks/{match['name'] or 'README.md'}", here)
        return f"]({target}{match['place'] or ''})"

    return RECORD_LINKS.sub(record, PAGE_NAMES.sub(named, markdown))


def _place(name: str) -> str:
    """Where a file of the repository is in the site."""
    return name.removeprefix("docs/") if name.startswith("docs/") else f"benchmarks/{posixpath.basename(name)}"


def options_page() -> str:
    """The reference of all options of all verbs."""
    verbs = {verb: module.Options for verb in VERBS if hasattr(module := import_module(f"dvt.cli.{verb}"), "Options")}
    parts: dict[str, tuple[str, Any, list[str]]] = {}
    for verb, kind in verbs.items():
        for name, group in ((name, value) for name, value in walk(kind()) if is_dataclass(value)):
            parts.setdefault(_anchor(name, group), (name, group, []))[2].append(verb)
    lines = [_INTRODUCTION]
    for verb, kind in verbs.items():
        lines += [f"## dvt {verb} {{ #{verb} }}", "", f"{VERBS[verb][0].upper()}{VERBS[verb][1:]}.", ""]
        lines += [*_table(kind(), ""), ""]
    lines += ["## Groups of options { #groups }", ""]
    for anchor, (name, group, users) in parts.items():
        lines += [f"### {name} ({', '.join(users)}) {{ #{anchor} }}", "", (type(group).__doc__ or "").strip(), ""]
        lines += [*_table(group, f"{name}."), ""]
    return "\n".join([*lines, *_choices()]) + "\n"


_INTRODUCTION = f"""\
# Options

Every option of every verb, with its default, made from the dataclasses that the command line reads: the same as
`dvt VERB --help`. On the command line an option is `name=value`, one of a group `group.name=value`. Verbs that are not
here (`dvt store`, `dvt convert`) take no options but their arguments.

```
{FLAGS}
```
"""


def _anchor(name: str, group: Any) -> str:
    return f"{name}-{type(group).__name__}".replace(".", "-").lower()


def _table(options: Any, prefix: str) -> list[str]:
    """A row for every option of a dataclass, its own before inherited ones; groups last, with links to their tables."""
    docs, own = attribute_docs(type(options)), inspect.get_annotations(type(options))
    single, grouped = [], []
    for entry in sorted(fields(options), key=lambda entry: entry.name not in own):
        value, meaning = getattr(options, entry.name), _cell(docs[entry.name])
        name = f"{prefix}{entry.name}"
        if is_dataclass(value):
            grouped.append(f"| [`{name}.*`](#{_anchor(name, value)}) | | {meaning} |")
        else:
            single.append(f"| `{name}` | {_default(value)} | {meaning} |")
    return ["| option | default | meaning |", "|---|---|---|", *single, *grouped]


def _default(value: Any) -> str:
    return "required" if value == MISSING else f"`{_written(value)}`"


def _written(value: Any) -> str:
    """A value as one writes it on the command line."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_written, value))}]"
    return yaml.safe_dump(value).splitlines()[0].strip("'") or "''"


def _cell(text: str) -> str:
    return re.sub(r"([|*_<`\[\]])", r"\\\1", text)


def _choices() -> list[str]:
    """What the config groups set, and the named ViTs."""
    lines = ["## Choices { #choices }", "", "A choice of a config group sets several options at once.", ""]
    for group in GROUPS:
        lines += [f"### {group}", "", f"| `{group}=` | sets |", "|---|---|"]
        for path in sorted((config_folder() / group).glob("*.yaml")):
            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            lines.append(f"| `{path.stem}` | {' '.join(f'`{pair}`' for pair in _pairs(values)) or 'the defaults'} |")
        lines.append("")
    lines += ["### backbone", "", "| `backbone=` | in timm | pixels a side |", "|---|---|---|"]
    lines += [f"| `{row.name}` | `{row.timm}` | {row.image_size or 'native'} |" for row in CATALOGUE.values()]
    return lines


def _pairs(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _pairs(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={_written(value)}"
