"""The command, called in this process, on small untrained ViTs."""

import logging
from types import SimpleNamespace

import pytest
from noise import write_noise

from dvt.cli.main import run

_TINY = (
    "backbone.timm=vit_tiny_patch16_224",
    "backbone.weights=random",
    "backbone.image_size=64",
    "quality=tiny",
    "views.num_views=3",
    "device=cpu",
)


@pytest.fixture
def dvt(capsys, tmp_path, monkeypatch):
    """dvt("show", "image=a.png") -> code, out, err; runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()

    def call(*arguments):
        handlers, level = root.handlers[:], root.level
        try:
            code = run(list(arguments))
        finally:  # --info makes Hydra log to stdout
            root.handlers[:], root.level = handlers, level
        out, err = capsys.readouterr()
        assert "Traceback" not in err and "hydra.cc" not in err
        return SimpleNamespace(code=code, out=out, err=err)

    return call


@pytest.fixture
def tiny_options():
    """A ViT that needs no download, and few views."""
    return _TINY


@pytest.fixture
def tiny(dvt):
    """As `dvt`, with those options: tiny("decompose", "images=a.png", "store=s")."""
    return lambda verb, *arguments: dvt(verb, *_TINY, *arguments)


@pytest.fixture
def photo(tmp_path):
    """photo("a.png") writes a picture there and returns its path."""

    def make(name, size=(70, 90), seed=0):
        return write_noise(tmp_path / name, size, seed)

    return make
