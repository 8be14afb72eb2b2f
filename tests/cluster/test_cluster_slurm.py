"""SLURM jobs, submitted to submitit's local executor and to a stand-in for SLURM made of three scripts."""

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cluster_jobs import NUM_IMAGES, Crashing, NoDevice, Recorder, Signing, make_job
from stored import stored_bytes

from dvt.cluster import slurm as module
from dvt.cluster.config import Cluster, EngineConfig, EngineName
from dvt.cluster.slurm import ShardJob, _reason, decompose_on_slurm
from dvt.decomposition.outcome import Outcome
from dvt.errors import EngineError
from dvt.store import status, verify

HERE = EngineConfig(name=EngineName.slurm, workers=2, cluster=Cluster.local)


@pytest.mark.slurm
@pytest.mark.usefixtures("importable")
def test_jobs_on_this_machine_do_what_one_process_does(files, whole, tmp_path):
    reporter = Recorder()
    outcome = decompose_on_slurm(files, make_job(tmp_path / "s"), HERE, reporter, poll_s=0.1)
    assert (outcome.done, outcome.left, outcome.crash, outcome.interrupted) == (NUM_IMAGES, 0, "", False)
    assert reporter.notes[0].startswith("2 jobs: ")
    assert reporter.started == [(NUM_IMAGES, "images")] and reporter.count == NUM_IMAGES
    assert stored_bytes(tmp_path / "s") == whole
    assert verify(tmp_path / "s").ok and status(tmp_path / "s").num_runs == 2, "logs are not records"


SBATCH = """\
#!{python}
import os, re, subprocess, sys
script = open(sys.argv[1]).read()
last = int(re.search("--array=.?0-([0-9]+)", script)[1])
for index in range(last + 1):
    numbers = {{"JOB_ID": 78 + index, "ARRAY_JOB_ID": 77, "ARRAY_TASK_ID": index, "PROCID": 0, "NTASKS": 1}}
    env = os.environ | {{"SLURM_" + name: str(number) for name, number in numbers.items()}}
    nowhere = subprocess.DEVNULL
    subprocess.Popen(["bash", sys.argv[1]], env=env, stdin=nowhere, stdout=nowhere, stderr=nowhere)
print("Submitted batch job 77")
"""
SRUN = """\
#!/bin/bash
log() { name=${1//%A/77}; name=${name//%a/$SLURM_ARRAY_TASK_ID}; echo "${name//%t/0}"; }
while [[ $1 == --* ]]; do
    case $1 in
        --output) exec >"$(log "$2")"; shift 2 ;;
        --error) exec 2>"$(log "$2")"; shift 2 ;;
        *) shift ;;
    esac
done
exec "$@"
"""
SACCT = """\
#!/bin/bash
echo 'JobID|State|NodeList'
echo '77_[0-1]|RUNNING|n1'
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch, importable):
    """Stand-ins for the commands of SLURM that submitit calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH.format(python=sys.executable), "srun": SRUN, "sacct": SACCT}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.mark.slurm
def test_one_job_of_an_array_crashes_and_the_other_does_its_part(files, whole, tmp_path, cluster):
    reporter = Recorder()
    engine = EngineConfig(name=EngineName.slurm, workers=2, partition="long", hours=1.5, memory_gb=8.0, cpus=3)
    outcome = decompose_on_slurm(files, make_job(tmp_path / "s", Crashing), engine, reporter, poll_s=0.1)
    assert (outcome.done, outcome.left) == (5, NUM_IMAGES - 5)
    crash = re.fullmatch(r"job 77_1: RuntimeError: the sky fell   \(log: (.*)\)", outcome.crash)
    log = Path(crash[1])
    assert "Traceback" in log.read_text() and log.is_relative_to(tmp_path / "s" / "runs" / "slurm")
    assert stored_bytes(tmp_path / "s") == {file.key: whole[file.key] for file in files[::2]}
    assert reporter.notes[0].startswith("2 jobs: 77; logs in")
    (script,) = log.parent.glob("77_submission.sh")
    text = script.read_text()
    for flag in ("array=0-1%2", "partition=long", "time=90", "mem=8GB", "cpus-per-task=3", "job-name=dvt"):
        assert f"#SBATCH --{flag}\n" in text
    assert "gpus-per-node" not in text and "srun" in text and text.count("--cpus-per-task=3") == 2


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.usefixtures("importable")
def test_a_preempted_job_is_requeued_and_continues(files, whole, tmp_path):
    """SLURM sends SIGUSR2 before a preemption: submitit asks it to."""

    def preempt():
        while not (begun := sorted(tmp_path.glob("*.pid"))) or not begun[0].read_text():
            time.sleep(0.01)
        os.kill(int(begun[0].read_text()), signal.SIGUSR2)

    preemption = threading.Thread(target=preempt, daemon=True)
    preemption.start()
    engine = EngineConfig(name=EngineName.slurm, workers=1, cluster=Cluster.local)
    outcome = decompose_on_slurm(files, make_job(tmp_path / "s", Signing), engine, poll_s=0.1)
    assert not preemption.is_alive() and outcome.crash == ""
    assert outcome.done + outcome.skipped == NUM_IMAGES and stored_bytes(tmp_path / "s") == whole
    records = [json.loads(path.read_text()) for path in sorted((tmp_path / "s" / "runs").glob("*.json"))]
    assert [record["interrupted"] for record in records] == [True, False]
    assert records[0]["done"] == outcome.skipped < NUM_IMAGES


def test_the_message_of_sbatch_is_in_the_error(files, tmp_path, cluster):
    (cluster / "sbatch").write_text(
        "#!/bin/bash\necho 'sbatch: error: invalid partition specified: long' >&2; exit 1\n"
    )
    engine = EngineConfig(name=EngineName.slurm, workers=2, partition="long")
    with pytest.raises(
        EngineError, match=r"SLURM refuses the jobs.*invalid partition specified: long.*engine.partition"
    ):
        decompose_on_slurm(files, make_job(tmp_path / "s"), engine)


class Submitted:
    """A job of submitit; without a result it never ends."""

    def __init__(self, number, outcome):
        self.job_id, self._outcome = f"77_{number}", outcome
        self.paths = SimpleNamespace(folder="logs", stderr=f"logs/77_{number}.err")

    def done(self):
        return self._outcome is not None

    def exception(self):
        return None

    def result(self):
        return self._outcome


def with_stand_ins(monkeypatch, files, store, outcomes, engine, reporter):
    jobs = [Submitted(number, outcome) for number, outcome in enumerate(outcomes)]
    monkeypatch.setattr(module, "load_submitit", lambda cluster: None)
    monkeypatch.setattr(module, "_submit", lambda *arguments: jobs)
    return decompose_on_slurm(files, make_job(store), engine, reporter)


@pytest.mark.parametrize(("cluster", "stop"), [(Cluster.slurm, "scancel 77."), (Cluster.local, "kill -INT 77.")])
def test_ctrl_c_leaves_the_jobs_and_says_how_to_inspect_and_stop_them(files, tmp_path, monkeypatch, cluster, stop):
    def interrupt(count):
        raise KeyboardInterrupt

    reporter = Recorder(interrupt)
    engine = EngineConfig(name=EngineName.slurm, workers=2, cluster=cluster)
    outcome = with_stand_ins(monkeypatch, files, tmp_path / "s", [Outcome(total=5, done=5), None], engine, reporter)
    assert outcome.interrupted and outcome.done == 5
    for part in (f"dvt store status {tmp_path / 's'}", stop, "the jobs continue"):
        assert part in reporter.notes[-1]


def test_a_node_that_refuses_is_a_crash_of_its_part_and_all_of_them_an_error(files, tmp_path, monkeypatch):
    refusal, reporter = EngineError("on node n1: no GPU here."), Recorder()
    outcomes = [Outcome(total=5, done=5), refusal]
    outcome = with_stand_ins(monkeypatch, files, tmp_path / "s", outcomes, HERE, reporter)
    assert outcome.crash == "job 77_1: on node n1: no GPU here.   (log: logs/77_1.err)" and outcome.done == 5
    with pytest.raises(EngineError) as caught:
        with_stand_ins(monkeypatch, files, tmp_path / "s", [refusal, refusal], HERE, reporter)
    assert str(caught.value) == "no job could do its part.\non node n1: no GPU here."


def test_no_more_jobs_than_images(files, tmp_path, monkeypatch):
    engine = EngineConfig(name=EngineName.slurm, workers=50)
    parts = module._split(files[:3], make_job(tmp_path / "s"), engine)
    assert [[file.key for file in part.files] for part in parts] == [["0.png"], ["1.png"], ["2.png"]]
    assert [part.job.options.shard.worker for part in parts] == ["0of3", "1of3", "2of3"]


def test_submitit_requeues_the_same_job(files, tmp_path):
    part = ShardJob(make_job(tmp_path / "s"), files[:2])
    submission = part.checkpoint()
    assert submission.function is part and submission.args == ()


def test_a_user_fixable_error_is_returned_without_a_traceback(files, tmp_path):
    refusal = ShardJob(make_job(tmp_path / "s", NoDevice), files)()
    assert isinstance(refusal, EngineError) and "device=cuda does not exist" in str(refusal)


DASHES = "-" * 22


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"Job failed with trace:\n{DASHES}\nTrace:\n  x\nValueError: no\n\n{DASHES}\nYou can", "ValueError: no"),
        (
            "Job 7\nhas not produced any output (state: OUT_OF_MEMORY)\nlog",
            "it left no result, its state is OUT_OF_MEMORY",
        ),
        ("something else\nand more", "something else"),
    ],
)
def test_reasons_are_one_line(text, reason):
    assert _reason(text) == reason
