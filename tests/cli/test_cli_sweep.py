"""Sweeps with Hydra's launchers and sweepers: the real plugins run `dvt train` over two options."""

import os
import subprocess
import sys

import pytest
import yaml

from dvt.weights.folder import read_model_folder

FEW = (
    "num_steps=2", "batch_size=2", "save_every=2", "validate_every=2", "show_every=0", "log_every=1", "trainer=cpu",
    "logger=none",
)  # fmt: skip


@pytest.fixture(scope="session")
def small_store(shared_folder):
    """A store of features of five images."""
    return shared_folder / "store"


@pytest.fixture
def sweep(small_store, tmp_path):
    """sweep(*options) -> the finished process of `dvt train -m`, run in an empty folder."""

    def run_sweep(*options):
        command = [sys.executable, "-m", "dvt", "train", "-m", f"store={small_store}", *FEW, *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment, timeout=300
        )

    return run_sweep


def metrics(text):
    """The metric of every run, from the summary of the sweep."""
    lines = text.partition("sweep: val/mse\n")[2].splitlines()
    return [line.split()[-1] for line in lines]


@pytest.mark.plugins
@pytest.mark.parametrize("launcher", ["joblib", pytest.param("submitit_local", marks=pytest.mark.slow)])
def test_a_launcher_runs_the_jobs_and_brings_exit_codes_and_errors_back(sweep, tmp_path, launcher):
    options = ("denoiser.num_blocks=1,2,0", "denoiser.mlp_ratio=2", "out=run${denoiser.num_blocks}")
    done = sweep(f"hydra/launcher={launcher}", *options)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("dvt: denoiser.num_blocks=0: give at least 1.") == 1
    assert [len(read_model_folder(tmp_path / f"run{n}")[0]) for n in (1, 2)] == [13, 25]
    one, two, none = metrics(done.stderr)
    assert 0 < float(one) and 0 < float(two) and none == "run", "the third was not run"
    kept = {"run1", "run2"} | ({"dvt_sweeps"} if launcher == "submitit_local" else set())
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert ("logs of the jobs: dvt_sweeps/" in done.stderr) == (launcher == "submitit_local")


@pytest.mark.plugins
def test_optuna_optimises_the_validation_error(sweep, tmp_path):
    done = sweep(
        "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=0",
        "hydra.sweep.dir=study", "out=run${hydra:job.num}",
        "denoiser.num_blocks=1,2", "optimizer.base_learning_rate=interval(1e-4,1e-2)",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    best = yaml.safe_load((tmp_path / "study" / "optimization_results.yaml").read_text())
    assert set(best["best_params"]) == {"denoiser.num_blocks", "optimizer.base_learning_rate"}
    assert best["best_value"] == pytest.approx(min(map(float, metrics(done.stderr))), rel=1e-3)
    assert {path.name for path in tmp_path.iterdir()} == {"study", "run0", "run1", "run2"}


@pytest.mark.slow
@pytest.mark.plugins
def test_a_trial_that_fails_is_the_worst_and_the_study_goes_on(sweep, tmp_path):
    done = sweep(
        "hydra/sweeper=optuna", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=1", "hydra.sweep.dir=study",
        "out=run${hydra:job.num}", "denoiser.num_blocks=0,1", "denoiser.mlp_ratio=2,4",
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("denoiser.num_blocks=0: give at least 1") == 2, done.stderr
    best = yaml.safe_load((tmp_path / "study" / "optimization_results.yaml").read_text())
    assert best["best_params"]["denoiser.num_blocks"] == 1


def test_a_sweep_in_this_process_continues_after_an_error_and_says_how_each_run_ended(dvt, small_store, tmp_path):
    options = ("denoiser.num_blocks=0,1", "out=run${denoiser.num_blocks}")
    done = dvt("train", "-m", f"store={small_store}", *FEW, *options)
    assert done.code == 2 and done.out == "" and "denoiser.num_blocks=0: give at least 1" in done.err
    none, one = metrics(done.err)
    assert none == "run" and float(one) > 0 and {path.name for path in tmp_path.iterdir()} == {"run1"}
    assert "  0   denoiser.num_blocks=0   not run" in done.err


@pytest.mark.plugins
def test_several_processes_of_lightning_are_refused_where_they_cannot_start(sweep):
    ddp = ("trainer.devices=2", "trainer.strategy=ddp", "out=run${denoiser.num_blocks}", "denoiser.num_blocks=1,2")
    done = sweep("hydra/launcher=joblib", *ddp)
    assert done.returncode == 2 and done.stderr.count("with hydra/launcher=joblib: Lightning starts") == 2, done.stderr


def test_a_fault_of_ours_ends_a_sweep_with_its_traceback(dvt, monkeypatch, tmp_path):
    calls = []

    def crash(options, choices):
        calls.append(options.seed)
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("dvt.cli.decompose.work", crash)
    with pytest.raises(ZeroDivisionError, match="ours"):
        dvt("decompose", "-m", "images=x", "store=s", "seed=1,2")
    assert calls == [1] and list(tmp_path.iterdir()) == []
