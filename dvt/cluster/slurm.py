"""Stage 1 as jobs of SLURM, by submitit: an array, each job with its part of the list."""

import re
import shlex
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from dvt.cluster.config import Cluster, EngineConfig
from dvt.cluster.job import Job, absolute, check
from dvt.cluster.sight import check_sees
from dvt.cluster.worker import Refusal
from dvt.decomposition.outcome import Outcome
from dvt.decomposition.run_list import Shard, decompose_part
from dvt.errors import ConfigError, DvtError, EngineError
from dvt.images import ImageFile
from dvt.store import DiskError
from dvt.store.folder import RUNS, claim

POLL_S = 1.0
"""How often the jobs are looked at; submitit asks SLURM itself more seldom."""
_MOST_TIMEOUTS = 1000
"""A job may reach its time limit and be queued again so often: each time it has come further."""


@dataclass(slots=True)
class ShardJob:
    """One job of the array: what submitit calls on a node."""

    job: Job
    """The work, with the shard of this one."""
    files: Sequence[ImageFile]
    """Its images."""

    def __call__(self) -> Outcome | Refusal:
        """Decompose them; those that are in the store are skipped."""
        try:
            folder = self.files[0].path.parent
            check_sees(folder, f"the folder of images {folder}")
            backbone, method = self.job.load()
            return decompose_part(self.files, backbone, method, self.job.store, self.job.config, self.job.options)
        except DiskError:
            raise
        except DvtError as error:
            return Refusal(socket.gethostname(), str(error))

    def checkpoint(self) -> Any:
        """What submitit queues when SLURM takes the machine back: the same, which goes on from the store."""
        return import_module("submitit.helpers").DelayedSubmission(self)


def decompose_on_slurm(
    files: Sequence[ImageFile],
    job: Job,
    engine: EngineConfig,
    on_progress: Callable[[Outcome, str], None] = lambda progress, key: None,
    on_note: Callable[[str], None] = lambda text: None,
    poll_s: float = POLL_S,
) -> Outcome:
    """Decompose images into a store by an array of jobs, each with an equal part of the list, and wait for them.

    A job that is preempted or reaches its time limit is queued again and goes on. Ctrl-C ends the waiting alone: the
    jobs go on, and `interrupted` is set. Logs go to `runs/slurm` in the store.

    Args:
        files: images with their keys.
        job: the work.
        engine: how many jobs, with what, and where.
        on_progress: called when the jobs are queued, and after each with the key of its last image.
        on_note: told what a person should know: the numbers of the jobs, how to look and how to stop them.
        poll_s: how often to look, in seconds.

    Returns:
        What was done, skipped and failed; `crash` has a line for every job that ended on an error.

    Raises:
        ConfigError: submitit is not installed, there is no SLURM here, or options that do not go together.
        EngineError: SLURM takes no such jobs, or none of them could do its part.
        StoreError: the folder of the store holds something else.
    """
    check(job, engine)
    progress = Outcome(total=len(files))
    if not files:
        return progress
    parts = _parts(absolute(files), job, engine)
    submitit = load_submitit(engine.cluster)
    claim(Path(job.store))
    waiting = _submit(submitit, parts, job, engine)
    on_note(f"{len(waiting)} jobs: {_numbers(waiting)}; logs in {waiting[0].paths.folder}")
    on_progress(progress, "")
    try:
        _wait(dict(zip(waiting, parts, strict=True)), progress, on_progress, on_note, poll_s)
    except KeyboardInterrupt:
        progress.interrupted = True
        stop = "scancel" if engine.cluster is Cluster.slurm else "kill -INT"
        on_note(
            f"the jobs go on. To look: dvt store status {shlex.quote(job.store)}. To stop them:"
            f" {stop} {_numbers(waiting)}. When they have ended the same command does what is left."
        )
    return progress


def _parts(files: Sequence[ImageFile], job: Job, engine: EngineConfig) -> list[ShardJob]:
    if engine.workers is None:
        raise ConfigError("engine.workers is missing: with engine=slurm say how many jobs, for example 16.")
    shards = [Shard(index, min(engine.workers, len(files))) for index in range(min(engine.workers, len(files)))]
    return [ShardJob(replace(job, options=replace(job.options, shard=shard)), shard.of(files)) for shard in shards]


def load_submitit(cluster: Cluster) -> Any:
    """The module.

    Raises:
        ConfigError: it is not installed, or there is no SLURM on this machine.
    """
    try:
        submitit = import_module("submitit")
    except ImportError as error:
        raise ConfigError("engine=slurm is not installed: pip install 'dvt[slurm]', or give engine=local.") from error
    if cluster is Cluster.slurm and not (shutil.which("sbatch") and shutil.which("srun")):
        raise ConfigError(
            "engine=slurm: there is no SLURM on this machine (no sbatch, no srun). Run it on a login node;"
            " engine.cluster=local tries it on this machine."
        )
    return submitit


def _submit(submitit: Any, parts: Sequence[ShardJob], job: Job, engine: EngineConfig) -> list[Any]:
    """Hand the jobs to SLURM, as an array."""
    cluster = engine.cluster.value
    folder = Path(job.store) / RUNS / "slurm" / uuid4().hex[:8]  # of its own: numbers of jobs come again
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **{f"{cluster}_max_num_timeout": _MOST_TIMEOUTS})
    executor.update_parameters(
        name="dvt",
        timeout_min=ceil(engine.hours * 60),
        cpus_per_task=engine.cpus,
        gpus_per_node=_gpus(job, engine) or None,
        mem_gb=engine.memory_gb,
        slurm_partition=engine.partition,
        slurm_srun_args=[f"--cpus-per-task={engine.cpus}"],  # since SLURM 22.05 srun does not take sbatch's
    )
    try:
        return list(executor.submit_array(parts))
    except (RuntimeError, OSError) as error:
        raise EngineError(
            f"SLURM takes no such jobs ({str(error).strip()}). Check engine.workers (arrays have a limit),"
            " engine.partition, engine.hours, engine.memory_gb, engine.cpus and engine.gpus (0 with device=cpu)."
        ) from error


def _gpus(job: Job, engine: EngineConfig) -> int:
    """GPUs of each job."""
    if engine.gpus is not None:
        return int(engine.gpus)
    if engine.cluster is Cluster.local and not torch.cuda.is_available():
        return 0
    return 1 if job.device in ("auto", "cuda") else 0


def _wait(
    parts: dict[Any, ShardJob],
    progress: Outcome,
    on_progress: Callable[[Outcome, str], None],
    on_note: Callable[[str], None],
    poll_s: float,
) -> None:
    """Wait for jobs and add up what they did.

    Raises:
        EngineError: none of them could do its part.
    """
    refusals: list[str] = []
    waiting = list(parts)
    while waiting:
        for job in [job for job in waiting if job.done()]:
            waiting.remove(job)
            outcome = _outcome(job)
            if isinstance(outcome, Refusal):
                refusals.append(str(outcome))
                outcome = _crash(job, str(outcome))
            progress.add_part(outcome)
            on_note(f"{len(parts) - len(waiting)} of {len(parts)} jobs have ended")
            on_progress(progress, parts[job].files[-1].key)
        if waiting:
            time.sleep(poll_s)
    if len(refusals) == len(parts):
        raise EngineError("\n".join(["no job could do its part.", *dict.fromkeys(refusals)]))


def _outcome(job: Any) -> Outcome | Refusal:
    error = job.exception()
    if error is not None:
        return _crash(job, _reason(str(error)))
    outcome: Outcome | Refusal = job.result()
    return outcome


def _crash(job: Any, reason: str) -> Outcome:
    return Outcome(total=0, crash=f"job {job.job_id}: {reason}   (log: {job.paths.stderr})")


def _reason(text: str) -> str:
    """What submitit says of a job that ended badly, in a line."""
    trace = re.search(r"with trace:\n-+\n(.*?)\n-+\n", text, re.DOTALL)
    if trace:
        return trace[1].strip().splitlines()[-1]
    state = re.search(r"\(state: (\w+)\)", text)
    return f"it left no result, its state is {state[1]}" if state else text.splitlines()[0]


def _numbers(jobs: Sequence[Any]) -> str:
    """The numbers that SLURM knows jobs by; an array has one."""
    return " ".join(dict.fromkeys(job.job_id.partition("_")[0] for job in jobs))
