"""Shell completion: candidates, and the script in a real bash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dvt.cli import completion
from dvt.cli.main import VERBS


def candidates(line):
    return completion.candidates(line, VERBS)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dvt dec", ["decompose "]),
        ("dvt train num", ["num_steps=", "num_workers="]),
        ("dvt train recipe=q", ["recipe=quick "]),
        ("dvt train denoiser.kind=b", ["denoiser.kind=block "]),
        ("dvt train num_steps=3 trainer.dev", ["trainer.devices="]),
        ("dvt decompose backbone=vit_m", ["backbone=vit_micro "]),
        ("dvt decompose qual", ["quality="]),
        ("dvt train qual", []),  # a group of other verbs
        ("dvt train --cf", ["--cfg "]),
        ("dvt nonsense x", []),
    ],
)
def test_candidates(line, expected):
    assert candidates(line) == expected


def test_every_verb_and_its_options():
    assert {"train ", "show ", "store "} <= set(candidates("dvt "))
    options = candidates("dvt train ")
    assert {"store=", "recipe=", "denoiser."} <= set(options)
    assert not any(each.startswith("hydra") for each in options)
    assert "hydra/launcher=" in candidates("dvt train hydra/la")


def test_paths_with_any_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    assert candidates("dvt show image=ph") == ["image=photos/"]
    assert candidates("dvt show image=photos/c") == ["image=photos/cat.jpg "]
    assert candidates("dvt train --config-dir ph") == ["photos/"]


def test_in_bash(tmp_path):
    command = tmp_path / "dvt"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dvt "$@"\n')
    command.chmod(0o755)
    typed = """
eval "$(dvt --shell-completion bash)"
COMP_LINE="$1"; COMP_POINT=${#1}
_dvt_complete
printf '<%s>' "${COMPREPLY[@]}"
"""
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[2])}
    for line, expected in (("dvt dec", "<decompose >"), ("dvt train recipe=q", "<quick >")):
        done = subprocess.run(
            ["bash", "-c", typed, "bash", line], capture_output=True, text=True, check=False, env=environment
        )
        assert done.stdout == expected, done.stderr


@pytest.mark.parametrize("shell", ["", "cmd"])
def test_an_unknown_shell(dvt, shell):
    done = dvt("--shell-completion", *filter(None, [shell]))
    assert done.code == 2 and "takes bash, zsh or fish" in done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script_without_waiting_for_torch(shell):
    code = "import sys; from dvt.cli.main import run; run(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "--shell-completion", shell], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "dvt --complete-line" in done.stdout
