"""The command, called in this process, on small untrained ViTs."""

import logging
import shutil
from types import SimpleNamespace

import pytest
from noise import write_noise

from dvt.cli.main import run

_TINY = (
    "backbone.timm=vit_micro_patch16_224",
    "backbone.weights=random",
    "backbone.image_size=64",
    "quality=tiny",
    "views.num_views=3",
    "device=cpu",
)

_FEW_STEPS = (
    "num_steps=4", "batch_size=2", "save_every=2", "validate_every=2", "show_every=0", "log_every=1", "trainer=cpu",
    "logger=none",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_composition(monkeypatch):
    """Leave out the first of Hydra's two compositions. It only looks for hydra.mode, which no config here sets."""
    monkeypatch.setattr("hydra._internal.hydra.Hydra.get_mode", lambda *_, **__: None)


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


@pytest.fixture(scope="session")
def tiny_options():
    """A ViT that needs no download, and few views."""
    return _TINY


@pytest.fixture
def tiny(dvt):
    """As `dvt`, with those options: tiny("decompose", "images=a.png", "store=s")."""
    return lambda verb, *arguments: dvt(verb, *_TINY, *arguments)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """photos/ of 5 images, store/ that `dvt decompose` made of them, denoiser/ that `dvt train` made of that.

    Of all tests: nothing is changed in it. `made` copies it.
    """
    folder = tmp_path_factory.mktemp("shared")
    for number in range(5):
        write_noise(folder / "photos" / f"{number}.png", (70, 90), number)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(["decompose", *_TINY, "images=photos", "store=store"]) == 0
        assert run(["train", "store=store", "out=denoiser", *_FEW_STEPS]) == 0
    return folder


@pytest.fixture
def made(shared_folder, tmp_path):
    """made("photos", "store", "denoiser") copies these into the working folder and returns the first of the paths."""

    def copy(*names):
        for name in names:
            shutil.copytree(shared_folder / name, tmp_path / name)
        return tmp_path / names[0]

    return copy


@pytest.fixture
def photo(tmp_path):
    """photo("a.png") writes an image there and returns its path."""

    def make(name, size=(70, 90), seed=0):
        return write_noise(tmp_path / name, size, seed)

    return make
