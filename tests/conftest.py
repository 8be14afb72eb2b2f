"""Helpers that several test folders share: a tiny real ViT, small pictures."""

import sys
from pathlib import Path

import jaxtyping
import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "decomposition")]


@pytest.fixture(autouse=True)
def _annotations(request):
    """Annotations are checked at run time, but for tests that break them on purpose."""
    jaxtyping.config.update("jaxtyping_disable", request.node.get_closest_marker("other_types") is not None)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
