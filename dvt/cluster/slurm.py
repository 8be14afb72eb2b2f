"""Stage 1 as an array of SLURM jobs, submitted by submitit; each job has its part of the list."""

import re
import shlex
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from dvt.cluster.config import Cluster, EngineConfig
from dvt.cluster.shared_files import wait_until_visible
from dvt.cluster.worker import Job, absolute
from dvt.decomposition.outcome import Outcome
from dvt.decomposition.run_list import decompose_part
from dvt.decomposition.shard import Shard
from dvt.errors import ConfigError, DvtError, EngineError
from dvt.images import ImageFile
from dvt.progress import SILENT, Reporter
from dvt.store import DiskError
from dvt.store.folder import RUNS, claim

POLL_S = 1.0
"""Seconds between two checks of the jobs; submitit asks SLURM itself less often."""
_MAX_TIMEOUTS = 1000
"""A job may reach its time limit and be requeued this often; it continues each time."""


@dataclass(slots=True)
class ShardJob:
    """One job of the array: the function that submitit calls on a node."""

    job: Job
    """The work, with the shard of this job."""
    files: Sequence[ImageFile]
    """Its images."""

    def __call__(self) -> Outcome | EngineError:
        """Decompose the images that the store lacks. Returns an error if this node cannot take part."""
        try:
            folder = self.files[0].path.parent
            wait_until_visible(folder, f"the folder of images {folder}")
            backbone, method = self.job.load()
            return decompose_part(self.files, backbone, method, self.job.store, self.job.config, self.job.options)
        except DiskError:
            raise
        except DvtError as error:
            return EngineError(f"on node {socket.gethostname()}: {error}")

    def checkpoint(self) -> Any:
        """The job that submitit requeues after a preemption: the same one, which continues from the store."""
        return import_module("submitit.helpers").DelayedSubmission(self)


def decompose_on_slurm(
    files: Sequence[ImageFile], job: Job, engine: EngineConfig, reporter: Reporter = SILENT, poll_s: float = POLL_S
) -> Outcome:
    """Decompose images into a store by an array of jobs, each with an equal part of the list, and wait for them.

    A job that is preempted or reaches its time limit is requeued and continues. Ctrl-C ends only the waiting: the
    jobs continue, and `interrupted` is set. Logs are in `runs/slurm` of the store.

    Args:
        files: images with their keys.
        job: the work.
        engine: number, resources and place of the jobs.
        reporter: shows the progress; notes the numbers of the jobs, and how to inspect and stop them.
        poll_s: seconds between two checks.

    Returns:
        What was done, skipped and failed; `crash` has a line for every job that ended with an error.

    Raises:
        ConfigError: submitit is not installed, there is no SLURM here, or options do not go together.
        EngineError: SLURM refuses the jobs, or none of them could do its part.
        StoreError: the folder of the store holds something else.
    """
    job.check(engine)
    outcome = Outcome(total=len(files))
    if not files:
        return outcome
    parts = _split(absolute(files), job, engine)
    submitit = load_submitit(engine.cluster)
    claim(Path(job.store))
    jobs = _submit(submitit, parts, job, engine)
    reporter.note(f"{len(jobs)} jobs: {_job_numbers(jobs)}; logs in {jobs[0].paths.folder}")
    reporter.start(len(files), "images", "decompose")
    try:
        _wait(dict(zip(jobs, parts, strict=True)), outcome, reporter, poll_s)
    except KeyboardInterrupt:
        outcome.interrupted = True
        stop = "scancel" if engine.cluster is Cluster.slurm else "kill -INT"
        reporter.note(
            f"the jobs continue. To inspect: dvt store status {shlex.quote(job.store)}. To stop them:"
            f" {stop} {_job_numbers(jobs)}. When they have ended, the same command does what is left."
        )
    return outcome


def load_submitit(cluster: Cluster) -> Any:
    """Import submitit.

    Raises:
        ConfigError: it is not installed, or there is no SLURM on this machine.
    """
    try:
        submitit = import_module("submitit")
    except ImportError as error:
        raise ConfigError(
            "engine=slurm is not installed: pip install 'denoising-vit[slurm]', or give engine=local."
        ) from error
    if cluster is Cluster.slurm and not (shutil.which("sbatch") and shutil.which("srun")):
        raise ConfigError(
            "engine=slurm: there is no SLURM on this machine (no sbatch, no srun). Run it on a login node;"
            " engine.cluster=local tries it on this machine."
        )
    return submitit


def _split(files: Sequence[ImageFile], job: Job, engine: EngineConfig) -> list[ShardJob]:
    if engine.workers is None:
        raise ConfigError("engine.workers is missing: with engine=slurm give the number of jobs, for example 16.")
    num_jobs = min(engine.workers, len(files))
    shards = [Shard(index, num_jobs) for index in range(num_jobs)]
    return [ShardJob(replace(job, options=replace(job.options, shard=shard)), shard.of(files)) for shard in shards]


def _submit(submitit: Any, parts: Sequence[ShardJob], job: Job, engine: EngineConfig) -> list[Any]:
    cluster = engine.cluster.value
    folder = Path(job.store) / RUNS / "slurm" / uuid4().hex[:8]  # of its own: job numbers repeat
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **{f"{cluster}_max_num_timeout": _MAX_TIMEOUTS})
    executor.update_parameters(
        name="dvt",
        timeout_min=ceil(engine.hours * 60),
        cpus_per_task=engine.cpus,
        gpus_per_node=_gpus_per_job(job, engine) or None,
        mem_gb=engine.memory_gb,
        slurm_partition=engine.partition,
        slurm_srun_args=[f"--cpus-per-task={engine.cpus}"],  # since SLURM 22.05 srun does not inherit sbatch's
    )
    try:
        return list(executor.submit_array(parts))
    except (RuntimeError, OSError) as error:
        raise EngineError(
            f"SLURM refuses the jobs ({str(error).strip()}). Check engine.workers (arrays have a limit),"
            " engine.partition, engine.hours, engine.memory_gb, engine.cpus and engine.gpus (0 with device=cpu)."
        ) from error


def _gpus_per_job(job: Job, engine: EngineConfig) -> int:
    if engine.gpus is not None:
        return int(engine.gpus)
    if engine.cluster is Cluster.local and not torch.cuda.is_available():
        return 0
    return 1 if job.device in ("auto", "cuda") else 0


def _wait(parts: dict[Any, ShardJob], outcome: Outcome, reporter: Reporter, poll_s: float) -> None:
    """Wait for jobs and add up their results.

    Raises:
        EngineError: no node could take part.
    """
    refusals: list[str] = []
    waiting = list(parts)
    while waiting:
        for job in [job for job in waiting if job.done()]:
            waiting.remove(job)
            error = job.exception()
            result: Outcome | EngineError = EngineError(_reason(str(error))) if error else job.result()
            if isinstance(result, EngineError):
                if not error:
                    refusals.append(str(result))
                result = Outcome(total=0, crash=f"job {job.job_id}: {result}   (log: {job.paths.stderr})")
            outcome.add_part(result)
            reporter.advance(len(parts[job].files), f"{len(parts) - len(waiting)} of {len(parts)} jobs have ended")
        if waiting:
            time.sleep(poll_s)
    if len(refusals) == len(parts):
        raise EngineError("\n".join(["no job could do its part.", *dict.fromkeys(refusals)]))


def _reason(text: str) -> str:
    """The error of a failed job in one line, from the text of submitit."""
    trace = re.search(r"with trace:\n-+\n(.*?)\n-+\n", text, re.DOTALL)
    if trace:
        return trace[1].strip().splitlines()[-1]
    state = re.search(r"\(state: (\w+)\)", text)
    return f"it left no result, its state is {state[1]}" if state else text.splitlines()[0]


def _job_numbers(jobs: Sequence[Any]) -> str:
    """SLURM's numbers of the jobs; an array has one."""
    return " ".join(dict.fromkeys(job.job_id.partition("_")[0] for job in jobs))
