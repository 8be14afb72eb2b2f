"""Shared by all tests: module paths, seeds, checked annotations, and the order of the tests."""

import gc
import sys
from pathlib import Path

import jaxtyping
import pytest
import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "decomposition")]


@pytest.fixture(autouse=True, scope="module")
def _module_seed():
    """What the fixtures of a module draw does not depend on the modules before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _seed():
    """What a test draws does not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _annotations(request):
    """Check annotations at run time, except in tests that break them on purpose."""
    jaxtyping.config.update("jaxtyping_disable", request.node.get_closest_marker("other_types") is not None)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def pytest_collection_modifyitems(items):
    """Modules with marked tests take longest: they come first, so that two processes end together."""
    marks = ("slow", "ddp", "ray", "slurm", "wandb", "network", "browser", "plugins", "docs", "process", "export")
    marked = {item.path for item in items if any(item.get_closest_marker(mark) for mark in marks)}
    items.sort(key=lambda item: item.path not in marked)


def pytest_collection_finish():
    """Collect garbage seldom, and leave what the imports made out of it: a collection takes half a second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 20)
