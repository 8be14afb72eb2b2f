"""The files around the code: citation, pre-commit, documentation site, links, version."""

import importlib.util
import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

import dvt
from dvt.cli.help import option_lines
from dvt.cli.main import VERBS
from dvt.version import __version__

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [*sorted(ROOT.glob("*.md")), *PAGES, *sorted((ROOT / "benchmarks" / "records").glob("*.md"))]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n|\n)+")
CODE = re.compile(r"`[^`\n]*`")


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "scripts" / "docs_hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generated(hooks):
    return hooks.generated_pages()


@pytest.fixture(scope="module")
def site():
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def prose(text):
    """Markdown without its code."""
    return CODE.sub("", INDENTED.sub("", FENCED.sub("", text)))


def links(text):
    """Targets of the links and images of a page, without those to other hosts."""
    targets = re.findall(r"\]\(([^()\s]+)\)", prose(text))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(text):
    """The anchors of the headings, as GitHub and the site both name them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


def nav_pages(nav):
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from nav_pages(value) if isinstance(value, list) else [value]


def test_the_version_is_written_once():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in project and 'path = "dvt/version.py"' in project
    assert not re.search(r"^version\s*=", project, re.MULTILINE)
    for name in ("CITATION.cff", "mkdocs.yml", "pyproject.toml", "README.md", "CONTRIBUTING.md"):
        numbers = re.findall(r"(?<![\d.=])\d+\.\d+\.\d+", (ROOT / name).read_text(encoding="utf-8"))
        assert __version__ not in numbers, name


def test_the_citation_names_the_project_and_both_papers():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    citation = yaml.safe_load(text)
    assert citation["cff-version"] == "1.2.0" and citation["title"] == "dvt" and citation["message"]
    assert citation["license"] == "Apache-2.0" and citation["authors"] == [{"name": "The dvt contributors"}]
    assert "version" not in citation and "date-released" not in citation
    assert not re.search(r"[:-] [&*]\w", text), "some readers of CFF do not know YAML anchors"
    titles = {paper["title"]: paper for paper in citation["references"]}
    assert len(titles) == 2 and "Denoising Vision Transformers" in titles
    for paper in titles.values():
        assert paper["type"] == "conference-paper" and paper["year"] == 2024
        assert all(set(author) == {"family-names", "given-names"} for author in paper["authors"])
    bibtex = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for author in titles["Denoising Vision Transformers"]["authors"]:
        assert f"{author['family-names']}, {author['given-names']}" in bibtex


def test_pre_commit_runs_what_the_test_script_runs_before_the_tests():
    script = (ROOT / "scripts" / "test.sh").read_text(encoding="utf-8")
    checks = script[script.index('step "lint: ruff"') : script.index('step "tests: pytest"')]
    commands = [f"{tool}{rest}" for tool, rest in re.findall(r'^"\$bin/([\w-]+)"(.*)$', checks, re.MULTILINE)]
    assert len(commands) >= 4
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repo["repo"] == "local"
    assert [hook["entry"] for hook in repo["hooks"]] == commands
    assert all(hook["language"] == "system" and hook["pass_filenames"] is False for hook in repo["hooks"])


def test_the_workflows_run_what_is_there():
    folder = ROOT / ".github" / "workflows"
    tests, release = (
        yaml.safe_load((folder / f"{name}.yml").read_text(encoding="utf-8")) for name in ("tests", "release")
    )
    job = tests["jobs"]["tests"]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    offered = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    assert job["strategy"]["matrix"]["python"] == [offered[0], offered[-1]]
    assert f'requires-python = ">={offered[0]}"' in project
    assert [step["run"] for step in job["steps"] if "run" in step] == ["scripts/test.sh --ci"]
    triggers = {True: "on"}  # YAML 1.1 reads the key as a boolean
    on = {triggers.get(key, key): value for key, value in release.items()}["on"]
    assert on == {"push": {"tags": ["v*"]}}
    publish = release["jobs"]["publish"]
    assert set(publish["needs"]) == {"tests", "build"} and publish["permissions"] == {"id-token": "write"}
    commands = "\n".join(step.get("run", "") for step in release["jobs"]["build"]["steps"])
    assert "python -m build" in commands and "twine check --strict dist/*" in commands
    for path in folder.iterdir():
        assert "never run" in path.read_text(encoding="utf-8"), "strike this once it was"


def test_every_page_is_in_the_navigation_and_exists(site, generated):
    there = {page.relative_to(DOCS).as_posix() for page in (*PAGES, *DOCS.rglob("*.ipynb"))}
    listed = list(nav_pages(site["nav"]))
    assert len(listed) == len(set(listed)) and not there & set(generated)
    assert set(listed) <= there | set(generated)
    assert there <= set(listed), "add the page to nav in mkdocs.yml"


def test_every_record_is_in_the_navigation(site, hooks):
    class Config:
        nav = site["nav"]

    listed = set(nav_pages(hooks.on_config(Config).nav))
    records = {f"benchmarks/{path.name}" for path in (ROOT / "benchmarks" / "records").glob("*.md")}
    assert len(records) > 3 and records <= listed


def test_the_reference_has_every_public_name_once():
    page = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: dvt\.(\w+)$", page, re.MULTILINE)) == sorted(dvt.__all__)


def test_the_reference_has_every_option_of_every_verb(generated):
    page = generated["reference/options.md"]
    for verb in VERBS:
        module = importlib.import_module(f"dvt.cli.{verb}")
        if hasattr(module, "Options"):
            assert f"## dvt {verb} {{ #{verb} }}" in page
            names = re.findall(r"^  ([\w.]+)=", "\n".join(option_lines(module.Options())), re.MULTILINE)
            assert names and all(f"| `{name}` |" in page for name in names)
    assert "| `store` | required |" in page and "| `optimizer.warmup` | `0.15` |" in page


def test_the_reference_is_good_markdown(generated):
    page = generated["reference/options.md"]
    rows = [line for line in page.splitlines() if line.startswith("| `") or line.startswith("| [")]
    assert len(rows) > 200
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) in (3, 4), row
    ids = re.findall(r"\{ #([\w-]+) \}", page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"\]\(#([\w-]+)\)", page)) <= set(ids)


def test_links_work_in_the_site(hooks):
    assert hooks.linked("see `docs/srt.md`.", "evaluation/depth.md") == "see [`docs/srt.md`](../srt.md)."
    assert hooks.linked("[r](../../benchmarks/records/x_1.md#a)", "howto/a.md") == "[r](../benchmarks/x_1.md#a)"
    name = "`benchmarks/records/x_1.md`"
    assert hooks.linked(name, "a.md") == f"[{name}](benchmarks/x_1.md)"
    assert hooks.linked("[`docs/srt.md`](srt.md) `dvt/grid.py`", "a.md") == "[`docs/srt.md`](srt.md) `dvt/grid.py`"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_link_targets_exist(path, generated, hooks):
    for link in links(path.read_text(encoding="utf-8")):
        target, _, place = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.is_relative_to(ROOT), f"{link} points outside the repository"
        place_in_site = file.relative_to(DOCS).as_posix() if file.is_relative_to(DOCS) else ""
        made = generated.get(place_in_site) or place_in_site == hooks.BROWSER_INDEX
        assert file.exists() or made, f"{link} has no target"
        if place and file.suffix == ".md":
            text = made or file.read_text(encoding="utf-8")
            assert place in anchors(text) or f"{{ #{place} }}" in text, f"{link}: no such heading"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_named_files_exist(path):
    names = re.findall(r"`((?:docs|dvt|scripts|benchmarks|configs)/[\w./-]+\.\w+)`", path.read_text(encoding="utf-8"))
    assert [name for name in names if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_lists_stand_alone(path):
    """Without an empty line before it, GitHub shows a list and the site shows text."""
    for before, line in pairwise(FENCED.sub("", path.read_text(encoding="utf-8")).splitlines()):
        if line.startswith(("* ", "- ")):
            assert not before or before.startswith(("* ", "- ", " ")), f"an empty line is missing before: {line}"
