"""Messages and exit codes of `dvt decompose engine=...`, with stand-ins for the engines."""

import pytest

from dvt.cli.main import run
from dvt.cluster.config import Cluster
from dvt.decomposition.outcome import Outcome


@pytest.fixture
def command(files, tmp_path, capsys):
    """command("engine=ray", ...) -> exit code, stderr."""

    def call(*options):
        code = run(["decompose", f"images={files[0].path.parent}", f"store={tmp_path / 's'}", "device=cpu", *options])
        return code, capsys.readouterr().err

    return call


def stand_in(monkeypatch, name, outcome):
    """An engine that records its arguments and returns an outcome."""
    given = []

    def engine(files, job, config, reporter):
        given.append((files, job, config))
        reporter.note("a note")
        return outcome

    monkeypatch.setattr(f"dvt.cluster.{name}.decompose_on_{name}", engine)
    return given


def test_the_options_reach_the_engine(command, files, tmp_path, monkeypatch):
    given = stand_in(monkeypatch, "slurm", Outcome(total=9, done=9))
    options = ["engine=slurm", "engine.workers=3", "engine.cluster=local", "quality=tiny", "seed=5", "arrays=[clean]"]
    code, said = command(*options, "backbone=dino_small", "dtype=float32")
    ((found, job, engine),) = given
    assert code == 0 and found == files and (engine.workers, engine.cluster) == (3, Cluster.local)
    assert (job.backbone.name, job.device, job.store) == ("dino_small", "cpu", str(tmp_path / "s"))
    assert (job.options.seed, job.options.arrays, job.options.dtype) == (5, ("clean",), "float32")
    assert job.options.quality == "tiny" and job.config.views.num_views == 8
    assert "9 images -> " in said and "dino_small, fp32, engine=slurm" in said and "a note" in said
    assert "9 done, 0 there already, 0 failed of 9 images" in said and "next: dvt store status" in said


def test_srt_goes_with_engines(command, monkeypatch):
    given = stand_in(monkeypatch, "ray", Outcome(total=9, done=9))
    assert command("engine=ray", "method=srt", "srt.max_shift=2")[0] == 0
    assert given[0][1].config.max_shift == 2


def test_a_part_that_crashed_is_named_and_the_exit_code_says_so(command, monkeypatch):
    stand_in(monkeypatch, "slurm", Outcome(total=9, done=5, crash="job 1: no\njob 2: neither"))
    code, said = command("engine=slurm", "engine.workers=3")
    assert code == 3 and "crashed: job 1: no\ncrashed: job 2: neither\n" in said
    assert "The same command again does the others" in said


@pytest.mark.parametrize(("engine", "continues"), [("ray", True), ("slurm", False)])
def test_interrupted(command, monkeypatch, engine, continues):
    stand_in(monkeypatch, engine, Outcome(total=9, done=5, interrupted=True))
    code, said = command(f"engine={engine}", "engine.workers=3")
    assert code == 130 and ("The same command again continues" in said) is continues


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["engine=ray", "shard=0/2"], "dvt: shard=0/2: engine=ray splits the list"),
        (["engine=rya"], "engine=rya does not exist: give ray"),
        (["engine=ray", "engine.partition=gpu"], "engine.partition is an option of engine=slurm"),
        (["engine.workers=many"], "engine.workers=many: give a whole number or null"),
    ],
)
def test_invalid_options_are_explained(command, tmp_path, options, text):
    code, said = command(*options)
    assert code == 2 and text in said and not (tmp_path / "s").exists()


def test_the_help_page_has_the_engines(capsys):
    run(["decompose", "--help"])
    page = capsys.readouterr().out
    assert "engine= local, ray, slurm" in page and "engine=slurm engine.workers=16" in page
    run(["decompose", "engine", "--help"])
    assert "engine.workers=null" in capsys.readouterr().out
