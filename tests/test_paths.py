"""The home folder in paths, where there is one and where there is none."""

import subprocess
import sys
from pathlib import Path

import pytest

from dvt.errors import ConfigError
from dvt.paths import expand_home


def test_a_leading_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/people/me")
    assert expand_home("~/a/b") == Path("/people/me/a/b") and expand_home("~") == Path("/people/me")
    for other in ("a/~", "~nobody of that name/a", "~a.jpg", ""):
        assert expand_home(other) == Path(other)


def test_without_a_home_one_sentence_says_so(monkeypatch):
    def unknown(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(ConfigError, match="~/a: the home folder of this user is not known"):
        expand_home("~/a")
    assert expand_home("~a.jpg") == Path("~a.jpg")


@pytest.mark.process
@pytest.mark.parametrize("arguments", [["decompose", "images=~/photos", "store=s"], ["store", "status", "~/s"]])
def test_a_user_without_an_entry_in_the_system_is_told(arguments, tmp_path):
    """A container that runs as a user id that its system does not know."""
    code = (
        "import os, pwd, sys; del os.environ['HOME']\n"
        "def unknown(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = unknown\n"
        "from dvt.cli.main import main; sys.argv = ['dvt', *sys.argv[1:]]; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "the home folder of this user is not known" in done.stderr
