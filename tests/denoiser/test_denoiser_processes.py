"""Stage 2 in processes of its own: killed without warning, stopped by Ctrl-C, shared by two."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from dvt.weights.checkpoint import checkpoint_paths
from dvt.weights.folder import read_model_folder

pytestmark = pytest.mark.ddp
COMMAND = (sys.executable, "-m", "dvt")
OPTIONS = (
    "num_steps=40", "batch_size=4", "save_every=1", "validate_every=20", "show_every=0", "log_every=5", "trainer=cpu",
    "logger=none",
)  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(store, tmp_path_factory):
    """The weights of a run that nobody disturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert finish(store, out) == 0
    return read_model_folder(out)[0]


def begin(store, out, *options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*COMMAND, "train", f"store={store}", f"out={out}", *OPTIONS, *options],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(store, out, *options):
    process = begin(store, out, *options)
    _, errors = process.communicate(timeout=120)
    return process.returncode if not process.returncode else errors


def wait_for_checkpoint(out, process, step):
    deadline = time.monotonic() + 60
    while not any(path.name >= f"step-{step:08d}" for path in checkpoint_paths(out / "checkpoints")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)


def test_killed_while_it_writes_checkpoints_it_continues_to_the_same_weights(store, tmp_path, uninterrupted):
    out = tmp_path / "run"
    process = begin(store, out)
    wait_for_checkpoint(out, process, step=5)  # the next is being written most of the time
    process.kill()
    process.communicate()
    assert finish(store, out) == 0
    state, _ = read_model_folder(out)
    assert all(torch.equal(state[key], uninterrupted[key]) for key in uninterrupted)


def test_ctrl_c_ends_it_with_a_checkpoint_and_code_130(store, tmp_path):
    out = tmp_path / "run"
    process = begin(store, out, "save_every=1000", "num_steps=100000")
    time.sleep(0.2)
    while "images ->" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    (path,) = checkpoint_paths(out / "checkpoints")
    assert f"stopped at step {int(path.stem.removeprefix('step-'))} of 100000" in errors


def test_two_processes_share_the_work_and_end_like_one(store, tmp_path, uninterrupted):
    out = tmp_path / "run"
    assert finish(store, out, "trainer.devices=2", "trainer.strategy=ddp") == 0
    state, _ = read_model_folder(out)
    # The mean of two halves is not the mean of the whole to the last bit, and Adam enlarges what is next to zero.
    assert all(torch.allclose(state[key], uninterrupted[key], atol=2e-3) for key in uninterrupted)
