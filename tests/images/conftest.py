"""Forbidden files, for root as well."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.fixture
def open_folder():
    """A folder that every user may enter (those of pytest are private)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def as_stranger():
    """A context in which file permissions count, even if the tests run as root, whom they do not bind."""

    @contextmanager
    def stepped_down():
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return stepped_down
