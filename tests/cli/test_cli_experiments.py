"""Config groups experiment= and debug=: each file says its command, cost and expected result, and composes."""

import csv
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(path for group in ("experiment", "debug") for path in CONFIGS.glob(f"*/{group}/*.yaml"))
REQUIRED = {
    "decompose": ("images=x", "store=y"),
    "train": ("store=x", "out=y"),
    "distill": ("denoiser=x", "images=x", "out=y"),
    "evaluate": ("data=x",),
}


def test_the_groups_are_there():
    assert {path.parts[-3] for path in FILES} == set(REQUIRED)
    assert {path.stem for path in FILES} == {
        "paper_dinov2_base", "laptop", "evaluation_suite", "overfit", "profile", "fast",
    }  # fmt: skip


@pytest.mark.parametrize("verb", REQUIRED)
def test_their_heads_and_their_options(dvt, verb):
    without = dvt(verb, *REQUIRED[verb], "--cfg", "job").out
    for path in (path for path in FILES if path.parts[-3] == verb):
        group = path.parent.name
        head = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
        assert f"dvt {verb} {group}={path.stem}" in head and "cost: " in head and "expect: " in head, path
        shown = dvt(verb, f"{group}={path.stem}", *REQUIRED[verb], "--cfg", "job")
        assert shown.code == 0 and shown.out != without, (path, shown.err)


def test_debug_runs(dvt, made, tmp_path):
    made("store")

    def train(*options):
        done = dvt("train", "store=store", "trainer=cpu", *options)
        assert done.code == 0, done.err

    train("debug=fast", "out=fast")
    train("debug=profile", "out=profiled", "num_steps=2", "batch_size=2")
    assert "run_training_batch" in (tmp_path / "profiled" / "fit-profile.txt").read_text()
    train("debug=overfit", "out=overfit", "num_steps=60", "batch_size=2", "save_every=60", "validate_every=60")
    (log,) = (tmp_path / "overfit" / "logs").glob("*/metrics.csv")
    with log.open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.5 * losses[0]
