"""Rules of the project that a machine can check, one test per rule. ruff and import-linter check the rest."""

import ast
import inspect
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path

import grimp
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import dvt
from dvt.backbone.catalogue import CATALOGUE
from dvt.backbone.config import BackboneConfig
from dvt.cli.help import attribute_docs, choices_of
from dvt.cli.hydra_app import register
from dvt.cli.main import VERBS
from dvt.decomposition.quality import load_quality, qualities
from dvt.options import walk

ROOT = Path(__file__).parents[1]
TEXTS = ("*.py", "*.md", "*.yaml", "*.toml", "*.sh", "*.json", ".ci/run")
OPTIONS = {verb: module.Options for verb in VERBS if hasattr(module := import_module(f"dvt.cli.{verb}"), "Options")}


def strongly_connected(successors):
    """Groups of nodes that reach each other (Tarjan), for a dict of node -> next nodes."""
    index, lowest, stack, groups = {}, {}, [], []

    def visit(node):
        index[node] = lowest[node] = len(index)
        stack.append(node)
        for following in sorted(successors[node]):
            if following not in index:
                visit(following)
            if following in stack:
                lowest[node] = min(lowest[node], lowest[following])
        if lowest[node] == index[node]:
            groups.append({stack.pop()})
            while node not in groups[-1]:
                groups[-1].add(stack.pop())

    for node in sorted(successors):
        if node not in index:
            visit(node)
    return [group for group in groups if len(group) > 1]


def test_strongly_connected_by_hand():
    assert strongly_connected({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set()}) == [{"a", "b", "c"}]


def test_no_import_cycle():
    """Imports inside functions count too."""
    graph = grimp.build_graph("dvt", exclude_type_checking_imports=True, cache_dir=None)
    assert len(graph.modules) > 100 and "dvt.cli.main" in graph.modules
    assert strongly_connected({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}) == []


@pytest.mark.parametrize("verb", OPTIONS)
def test_every_option_has_a_docstring(verb):
    kind = OPTIONS[verb]
    for part in (kind, *(type(value) for _, value in walk(kind()) if is_dataclass(value))):
        docs = attribute_docs(part)
        for entry in fields(part):
            assert docs.get(entry.name, "").endswith((".", ".)")), f"{part.__name__}.{entry.name}"


def test_every_verb_has_a_module_of_one_shape():
    for verb in VERBS:
        module = import_module(f"dvt.cli.{verb}")
        assert (callable(module.work) and module.HEAD) if verb in OPTIONS else (callable(module.run) and module.PAGE)


def test_public_names_exist_and_are_found_in_the_module():
    assert len(dvt.__all__) <= 28, "a public API is short"
    for public in dvt.__all__:
        assert getattr(dvt, public) is not None and public in dir(dvt)
    with pytest.raises(AttributeError, match="load_backbone"):
        dvt.load_backbon  # noqa: B018


@pytest.mark.parametrize("public", dvt.__all__)
def test_public_names_are_documented(public):
    thing = getattr(dvt, public)
    doc = inspect.getdoc(thing)
    assert doc and doc != inspect.getdoc(type(thing))
    if not inspect.isfunction(thing):
        return
    arguments = inspect.signature(thing).parameters
    if len(arguments) > 1:
        described = doc.partition("Args:")[2]
        assert all(re.search(rf"^ +\*{{0,2}}{each}:", described, re.MULTILINE) for each in arguments)
    if arguments and public != "seed_for":  # a hash of two values, which cannot fail
        assert "Raises:" in doc


def test_type_checkers_see_every_public_name():
    tree = ast.parse((ROOT / "dvt" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == dvt._MODULES


def test_importing_dvt_imports_no_torch():
    code = "import sys, dvt; from dvt.version import __version__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_options_of_all_verbs_import_no_torch():
    """`dvt VERB --help` is quick, and the documentation is built without torch and numpy."""
    code = (
        "import sys; from importlib import import_module; from dvt.cli.main import VERBS;"
        " [import_module(f'dvt.cli.{verb}') for verb in VERBS]; sys.exit(bool({'torch', 'numpy'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def composed(verb, *overrides):
    """The options that the command line passes to a verb, as dataclasses."""
    register(verb, OPTIONS[verb])
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose(verb, list(overrides))
    for missing in OmegaConf.missing_keys(config):
        config[missing] = "given"
    return OmegaConf.to_object(config)


@pytest.mark.parametrize("quality", qualities())
@pytest.mark.parametrize("verb", ["decompose", "show", "evaluate"])
def test_a_quality_is_the_same_from_the_command_line_and_from_python(verb, quality):
    given, expected = composed(verb, f"quality={quality}"), load_quality(quality)
    assert {entry.name: getattr(given, entry.name) for entry in fields(expected)} == {
        entry.name: getattr(expected, entry.name) for entry in fields(expected)
    }


def test_every_backbone_of_the_catalogue_is_a_choice():
    assert choices_of("decompose", "backbone") == sorted(CATALOGUE)
    assert composed("decompose", "backbone=mae_huge").backbone == BackboneConfig(name="mae_huge")


def test_no_path_of_one_machine_is_in_a_file():
    ours = [path for pattern in TEXTS for path in ROOT.glob(f"[!.]*/**/{pattern}")]
    ours += [path for pattern in TEXTS for path in ROOT.glob(pattern)]
    places = re.compile(r"(?<![\w.$~])/(?:home|root|work|Users|mnt|opt|data)/\w+")
    assert len(ours) > 100
    for path in ours:
        assert places.findall(path.read_text(encoding="utf-8")) == [], path.relative_to(ROOT)
