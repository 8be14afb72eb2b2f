"""The examples in docstrings run."""

import ast
import doctest
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SMALLER = {
    "ArtifactScoresConfig(num_images=16)": "ArtifactScoresConfig(num_images=16, image_size=112, seeds=1)",
    'diagnose(dvt.load_backbone("vit_micro"),': 'diagnose(dvt.load_backbone("vit_micro", image_size=112),',
}
"""What is computed on less in the test."""


def examples():
    """(module, qualified name, docstring) of every docstring with an example, from the source.

    doctest's own search misses functions that jaxtyping has wrapped.
    """
    for path in sorted((ROOT / "dvt").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        nodes = [(module, ast.parse(path.read_text(encoding="utf-8")))]
        for name, node in nodes:
            if ">>>" in (text := ast.get_docstring(node) or ""):
                yield module, name, text
            nodes += [
                (f"{name}.{child.name}", child)
                for child in ast.iter_child_nodes(node)
                if hasattr(child, "name") and isinstance(child, (ast.FunctionDef, ast.ClassDef))
            ]


@pytest.mark.parametrize(("module", "name", "text"), [pytest.param(*each, id=each[1]) for each in examples()])
def test_example_runs(module, name, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if '"photos/"' in text:
        Path("photos").mkdir()
        for number in range(16):
            Image.effect_noise((96, 96), 64).convert("RGB").save(f"photos/{number}.png")
    for example, smaller in SMALLER.items():
        text = text.replace(example, smaller)
    names = dict(vars(import_module(module)))
    test = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.append)
    assert runner.tries > 0 and runner.failures == 0, "".join(report)
