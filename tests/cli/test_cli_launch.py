"""Variables of a launch that are left in the environment."""

from types import SimpleNamespace

import pytest

from dvt.cli.option_checks import check_launch
from dvt.errors import ConfigError

CHOICES = {"hydra/launcher": "basic", "hydra/sweeper": "basic"}


def check(devices=1, num_nodes=1):
    trainer = SimpleNamespace(devices=devices, num_nodes=num_nodes)
    check_launch(SimpleNamespace(trainer=trainer), CHOICES, "RUN", started_here=True)


@pytest.fixture(autouse=True)
def _no_launch(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "devices", "refused"),
    [
        ({}, 1, None),
        ({"RANK": "0"}, 1, None),
        ({"RANK": "1"}, 1, "RANK=1 in the environment"),
        ({"RANK": "1"}, "auto", "WORLD_SIZE says that there is one process"),
        ({"LOCAL_RANK": "3"}, 1, "unset LOCAL_RANK WORLD_SIZE"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, 1, "RANK=1 and WORLD_SIZE=2 in the environment"),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, 2, None),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, "auto", None),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, "auto", None),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "1"}, "auto", "SLURM_PROCID=1 and SLURM_NTASKS=1"),
        ({"RANK": "0", "LOCAL_RANK": "1"}, 1, None),
    ],
)
def test_a_process_that_would_be_silent_is_refused(variables, devices, refused, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if refused is None:
        return check(devices)
    with pytest.raises(ConfigError, match=refused):
        check(devices)


def test_verbs_without_a_trainer_do_not_care(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    check_launch(SimpleNamespace(), CHOICES, "RUN", started_here=True)
