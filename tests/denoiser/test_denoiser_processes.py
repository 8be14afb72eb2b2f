"""Stage 2 in separate processes: killed, stopped by Ctrl-C, trained by two."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from dvt.cli.main import run
from dvt.weights.checkpoint import checkpoint_paths, step_of
from dvt.weights.folder import read_model_folder

pytestmark = pytest.mark.ddp
OPTIONS = (
    "num_steps=40", "batch_size=4", "save_every=1", "validate_every=20", "show_every=0", "log_every=5", "trainer=cpu",
    "logger=none",
)  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(store, tmp_path_factory):
    """The weights of a run without an interruption."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    finish_here(store, out)
    return read_model_folder(out)[0]


def command(store, out, *options):
    return ["train", f"store={store}", f"out={out}", *OPTIONS, *options]


def start(store, out, *options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "dvt", *command(store, out, *options)],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish_here(store, out, *options):
    """Run the command to its end in this process, with the threads of the others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    assert run(command(store, out, *options)) == 0
    torch.set_num_threads(before)


def wait_for_checkpoint(out, process, step):
    deadline = time.monotonic() + 60
    while not any(path.name >= f"step-{step:08d}" for path in checkpoint_paths(out / "checkpoints")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)


def test_killed_while_it_writes_checkpoints_it_continues_to_the_same_weights(store, tmp_path, uninterrupted):
    out = tmp_path / "run"
    process = start(store, out)
    wait_for_checkpoint(out, process, step=5)  # most of the time the next one is being written
    process.kill()
    process.communicate()
    finish_here(store, out)
    state, _ = read_model_folder(out)
    assert all(torch.equal(state[key], uninterrupted[key]) for key in uninterrupted)


def test_ctrl_c_ends_it_with_a_checkpoint_and_code_130(store, tmp_path):
    out = tmp_path / "run"
    process = start(store, out, "save_every=3", "num_steps=100000")
    wait_for_checkpoint(out, process, step=3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    newest = checkpoint_paths(out / "checkpoints")[0]
    assert f"stopped at step {step_of(newest)} of 100000" in errors


def test_two_processes_share_the_work_and_end_like_one(store, tmp_path, uninterrupted):
    out = tmp_path / "run"
    process = start(store, out, "trainer.devices=2", "trainer.strategy=ddp")
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    state, _ = read_model_folder(out)
    # The mean of two halves differs from the mean of the whole in the last bit, and Adam enlarges that near zero.
    assert all(torch.allclose(state[key], uninterrupted[key], atol=2e-3) for key in uninterrupted)


@pytest.mark.slow
def test_two_processes_with_an_adversary_end_like_one(store, tmp_path):
    options = ("adversary.weight=1", "adversary.tokens=4", "num_steps=10", "validate_every=10")
    finish_here(store, tmp_path / "one", *options)
    process = start(store, tmp_path / "two", *options, "trainer.devices=2", "trainer.strategy=ddp")
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    (one, _), (two, _) = (read_model_folder(tmp_path / name) for name in ("one", "two"))
    assert all(torch.allclose(one[key], two[key], atol=2e-3) for key in one)
    (first, second) = (
        torch.load(checkpoint_paths(tmp_path / name / "checkpoints")[0], weights_only=True)["state_dict"]
        for name in ("one", "two")
    )
    assert all(torch.allclose(first[key], second[key], atol=2e-2) for key in first if "direction" not in key)
