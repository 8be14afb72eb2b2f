"""Stage 1 on Ray: on all cores or GPUs of this machine, or of a cluster."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from dvt.cluster.config import EngineConfig
from dvt.cluster.pool import Method, PoolRun, Reply, WorkerCrashed
from dvt.cluster.shared_files import StoreMarker
from dvt.cluster.worker import Job, Worker, absolute
from dvt.decomposition.outcome import Outcome, run_record
from dvt.errors import ConfigError, DvtError, EngineError, first_line
from dvt.images import ImageFile
from dvt.progress import SILENT, Reporter
from dvt.store import write_run_record

_OBJECT_STORE_BYTES = 128 * 2**20
"""Shared memory of a Ray of our own: only keys and paths travel."""


def decompose_on_ray(
    files: Sequence[ImageFile], job: Job, engine: EngineConfig, reporter: Reporter = SILENT
) -> Outcome:
    """Decompose images into a store on Ray workers; images that the store has, verified, are skipped.

    Each worker loads the ViT once. A worker that crashes is replaced, and what it had not committed is done again. An
    image on which two workers crashed is recorded as a failure. Ctrl-C lets the workers commit and returns with
    `interrupted` set.

    Args:
        files: images with their keys.
        job: the work.
        engine: number, resources and place of the workers.
        reporter: shows the progress, and notes such as a node that cannot take part.

    Returns:
        What was done, skipped and failed.

    Raises:
        ConfigError: Ray is not installed, or options do not go together or exceed this machine.
        EngineError: no worker can take part, or they crash one after the other.
        StoreError: the store was made with other settings, or the disk is full (committed images are safe).
    """
    job.check(engine)
    outcome = Outcome(total=len(files))
    if not files:
        return outcome
    files = absolute(files)
    with _connected(engine) as (ray, is_own), StoreMarker(Path(job.store)) as marker:
        has = ray.cluster_resources()
        gpus = _gpus_per_worker(job, engine, has)
        if job.device == "auto" and gpus == 0 and has.get("GPU"):
            job = replace(job, device="cpu")  # the GPUs there are belong to others
        name, size = f"ray-{uuid4().hex[:8]}", _num_workers(engine, gpus, has, is_own, len(files), reporter)
        pool = RayPool(ray, {"num_cpus": engine.cpus, "num_gpus": gpus}, job, marker, files[0].path.parent)
        run = PoolRun(pool, files, Path(job.store), name, size, outcome, reporter)
        started = time.time()
        try:
            run.work()
        except KeyboardInterrupt:
            outcome.interrupted = True
        except Exception as error:
            outcome.crash = f"{type(error).__name__}: {error}"
            raise
        finally:
            run.close()
            if run.about is not None:  # else there may be no store
                worked_with = {**run.about, "engine": asdict(engine)}
                seed = job.options.seed
                record = run_record(outcome, worked_with, job.config, seed=seed, worker=name, started=started)
                write_run_record(job.store, record, worker=name)
    return outcome


class RayPool:
    """A `Pool` of Ray actors.

    Args:
        ray: the module, connected.
        resources: of each actor, as in `ray.remote`.
        job: the work.
        marker: file in the store's folder.
        images: a folder of images.
    """

    def __init__(self, ray: Any, resources: Mapping[str, float], job: Job, marker: StoreMarker, images: Path) -> None:
        self._ray, self._job, self._marker, self._images = ray, job, marker, images
        self._actor_class = ray.remote(max_restarts=0, **resources)(Worker)
        self._actors: dict[str, Any] = {}
        self._calls: dict[Any, str] = {}  # worker of each reference

    def add(self, worker: str) -> None:
        """Create an actor; Ray places it when there is room."""
        self._marker.write()
        self._actors[worker] = self._actor_class.remote(self._job, worker, self._marker.path, self._images)
        self.call(worker, "start")

    def call(self, worker: str, method: Method, *arguments: Any) -> None:
        """Call a method of an actor."""
        self._calls[getattr(self._actors[worker], method).remote(*arguments)] = worker

    def remove(self, worker: str) -> None:
        """Kill an actor."""
        self._ray.kill(self._actors.pop(worker))
        self._calls = {call: name for call, name in self._calls.items() if name != worker}

    def next_reply(self, timeout_s: float | None = None) -> Reply | None:
        """Wait for any call. An error that is no `DvtError`, such as a failing GPU, counts as a crash of the worker."""
        if not self._calls:
            return None
        ready, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=timeout_s)
        if not ready:
            return None
        worker = self._calls.pop(ready[0])
        try:
            return Reply(worker, self._ray.get(ready[0]))
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, DvtError):
                return Reply(worker, error=error.cause)
            return Reply(worker, error=WorkerCrashed(str(error).strip().rpartition("\n")[2]))
        except self._ray.exceptions.RayError as error:
            return Reply(worker, error=WorkerCrashed(str(error)))


def load_ray() -> Any:
    """Import Ray.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module("ray")
    except ImportError as error:
        raise ConfigError(
            "engine=ray is not installed: pip install 'denoising-vit[ray]', or give engine=local."
        ) from error


@contextmanager
def _connected(engine: EngineConfig) -> Iterator[tuple[Any, bool]]:
    """Ray, connected, and whether it was started here. A connection of the caller is used as it is."""
    ray = load_ray()
    if ray.is_initialized():
        yield ray, False
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _connect(ray, engine.address)
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray's own handler would end a run without a message
    try:
        yield ray, engine.address is None
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    """Connect to an existing Ray, or start one.

    Raises:
        EngineError: there is none at that address, or one of another version.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # statistics are sent only on request
        ray.init(address="local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, **options)
        return
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"engine.address={address}: Ray cannot be reached ({first_line(error)}). Start one with `ray start --head`,"
            " set RAY_AUTH_MODE=token where it wants a token, or leave the address out for a Ray of its own, here."
        ) from error


def _gpus_per_worker(job: Job, engine: EngineConfig, has: Mapping[str, float]) -> float:
    if engine.gpus is not None:
        return engine.gpus
    return 1.0 if job.device == "cuda" or (job.device == "auto" and has.get("GPU")) else 0.0


def _num_workers(
    engine: EngineConfig,
    gpus: float,
    has: Mapping[str, float],
    is_own: bool,
    num_images: int,
    reporter: Reporter,
) -> int:
    """Number of workers to start; notes what differs from the option.

    Raises:
        ConfigError: this machine has no room for one.
    """
    room, wanted = _room(engine.cpus, gpus, has), engine.workers
    there = f"CPU cores: {has.get('CPU', 0):g}, GPUs: {has.get('GPU', 0):g}"
    each = f"engine.cpus={engine.cpus} and {gpus:g} GPUs each"
    if room == 0 and is_own:
        raise ConfigError(f"this machine ({there}) has no room for a worker with {each}. Ask for less, or device=cpu.")
    if wanted is not None and wanted > room:
        what = f"engine.workers={wanted} with {each}: there is room for {room} ({there});"
        reporter.note(f"{what} {room} are started." if is_own else f"{what} the others start when there is more.")
    size = max(1, room) if wanted is None or (is_own and wanted > room) else wanted
    if size > num_images:
        images = f"{num_images} image{' keeps' if num_images == 1 else 's keep'}"
        reporter.note(f"{images} no more than {num_images} worker{'s' * (num_images > 1)} busy, of {size}.")
    return min(size, num_images)


def _room(cpus: int, gpus: float, has: Mapping[str, float]) -> int:
    """Number of workers that fit."""
    by_cpu = int(has.get("CPU", 0)) // cpus
    if gpus == 0:
        return by_cpu
    there = int(has.get("GPU", 0))
    return min(by_cpu, int(there // gpus) if gpus >= 1 else there * int(1 / gpus))
