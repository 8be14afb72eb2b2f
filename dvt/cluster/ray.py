"""Stage 1 on Ray: on all cores or GPUs of this machine, or on those of a cluster."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from dvt.cluster.config import EngineConfig
from dvt.cluster.fleet import Fleet
from dvt.cluster.job import Job, absolute, check
from dvt.cluster.ray_crew import RayCrew
from dvt.cluster.sight import Token
from dvt.decomposition.outcome import Outcome, run_record
from dvt.errors import ConfigError, EngineError
from dvt.images import ImageFile
from dvt.store import write_run_record

_OBJECT_STORE_BYTES = 128 * 2**20
"""Shared memory of a Ray of our own: only keys and paths travel."""


def decompose_on_ray(
    files: Sequence[ImageFile],
    job: Job,
    engine: EngineConfig,
    on_progress: Callable[[Outcome, str], None] = lambda progress, key: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Decompose images into a store by workers of Ray; those that are verified to be there are skipped.

    Each worker loads the ViT once. Images are dealt to whoever is free. A worker that dies is replaced, and what it
    had not committed is dealt again; an image on which a worker dies twice, with nothing else in work, is written down
    as a failure. Ctrl-C lets the workers commit and returns with `interrupted` set.

    Args:
        files: images with their keys.
        job: the work.
        engine: how many workers, with what, and where.
        on_progress: called before the first image, and after every few with the key of the last.
        on_note: told what a person should know while the run goes on: a node that cannot take part, a worker that died.

    Returns:
        What was done, skipped and failed.

    Raises:
        ConfigError: Ray is not installed, or options that do not go together or with this machine.
        EngineError: no worker can take part, or they die one after the other.
        StoreError: the store was made with other settings, or the disk is full (what is committed is safe).
    """
    check(job, engine)
    progress = Outcome(total=len(files))
    if not files:
        return progress
    files = absolute(files)
    with _connected(engine) as (ray, is_own), Token(Path(job.store)) as token:
        has = ray.cluster_resources()
        gpus = _gpus(job, engine, has)
        if job.device == "auto" and gpus == 0 and has.get("GPU"):
            job = replace(job, device="cpu")  # the GPUs there are belong to others
        name, size = f"ray-{uuid4().hex[:8]}", _size(engine, gpus, has, is_own, len(files), on_note)
        crew = RayCrew(ray, {"num_cpus": engine.cpus, "num_gpus": gpus}, job, token, files[0].path.parent)
        fleet = Fleet(crew, files, token.path.parent, name, size, progress, on_progress, on_note)
        _run(fleet, progress, job, engine, name)
    return progress


def _run(fleet: Fleet, progress: Outcome, job: Job, engine: EngineConfig, name: str) -> None:
    """Let a fleet work, and write down how it went."""
    started = time.time()
    try:
        fleet.work()
    except KeyboardInterrupt:
        progress.interrupted = True
    except Exception as error:
        progress.crash = f"{type(error).__name__}: {error}"
        raise
    finally:
        fleet.close()
        if fleet.about is not None:  # else there may be no store
            worked_with = {**fleet.about, "engine": asdict(engine)}
            record = run_record(progress, worked_with, job.config, seed=job.options.seed, worker=name, started=started)
            write_run_record(job.store, record, worker=name)


def load_ray() -> Any:
    """The module.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module("ray")
    except ImportError as error:
        raise ConfigError("engine=ray is not installed: pip install 'dvt[ray]', or give engine=local.") from error


@contextmanager
def _connected(engine: EngineConfig) -> Iterator[tuple[Any, bool]]:
    """Ray, connected, and whether it is one of our own; one that the caller has connected is used as it is."""
    ray = load_ray()
    if ray.is_initialized():
        yield ray, False
        return
    with _own_sigterm():
        _connect(ray, engine.address)
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
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody unless it was asked for
        ray.init(address="local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, **options)
        return
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise EngineError(
            f"engine.address={address}: Ray cannot be reached ({reason}). Start one with `ray start --head`, set"
            " RAY_AUTH_MODE=token where it wants a token, or leave the address out for a Ray of its own, here."
        ) from error


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray takes SIGTERM for itself, which would end a run without a word: the handler of before is put back."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _gpus(job: Job, engine: EngineConfig, has: Mapping[str, float]) -> float:
    """GPUs of each worker."""
    if engine.gpus is not None:
        return engine.gpus
    return 1.0 if job.device == "cuda" or (job.device == "auto" and has.get("GPU")) else 0.0


def _size(
    engine: EngineConfig,
    gpus: float,
    has: Mapping[str, float],
    is_own: bool,
    num_images: int,
    on_note: Callable[[str], None],
) -> int:
    """How many workers to have.

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
        on_note(f"{what} they are as many." if is_own else f"{what} the others begin when there is more.")
    size = max(1, room) if wanted is None or (is_own and wanted > room) else wanted
    if size > num_images:
        images = f"{num_images} image{' keeps' if num_images == 1 else 's keep'}"
        on_note(f"{images} no more than {num_images} worker{'s' * (num_images > 1)} busy, of {size}.")
    return min(size, num_images)


def _room(cpus: int, gpus: float, has: Mapping[str, float]) -> int:
    """Workers that fit."""
    by_cpu = int(has.get("CPU", 0)) // cpus
    if gpus == 0:
        return by_cpu
    there = int(has.get("GPU", 0))
    return min(by_cpu, int(there // gpus) if gpus >= 1 else there * int(1 / gpus))
