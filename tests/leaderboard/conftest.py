"""One leaderboard for all tests of this folder, in a process of its own where it is killed."""

from types import SimpleNamespace

import pytest
from leaderboard.tiny_board import arguments, write_data, write_spec

from dvt.cli.main import run


@pytest.fixture(autouse=True)
def _one_composition(monkeypatch):
    """Leave out the first of Hydra's two compositions. It only looks for hydra.mode, which no config here sets."""
    monkeypatch.setattr("hydra._internal.hydra.Hydra.get_mode", lambda *_, **__: None)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A leaderboard that ran to its end: `.out`, `.data`, `.spec`. Nothing is changed in it."""
    folder = tmp_path_factory.mktemp("board")
    data, spec = write_data(folder / "data"), write_spec(folder / "spec.yaml")
    assert run(arguments(spec, data, folder / "out")) == 0
    return SimpleNamespace(out=folder / "out", data=data, spec=spec)


@pytest.fixture
def command(capsys):
    """command("leaderboard", ...) -> code, out, err."""

    def call(*given):
        code = run(list(map(str, given)))
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return SimpleNamespace(code=code, out=out, err=err)

    return call
