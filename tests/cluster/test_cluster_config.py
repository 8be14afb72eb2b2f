"""Options of the engines: invalid values, and the number of workers."""

import sys

import pytest
from cluster_jobs import Recorder, make_job

from dvt.cluster.config import EngineConfig, EngineName
from dvt.cluster.ray import _connect, _gpus_per_worker, _num_workers, _room, decompose_on_ray
from dvt.cluster.slurm import decompose_on_slurm
from dvt.decomposition.run_list import ListOptions
from dvt.decomposition.shard import Shard
from dvt.errors import ConfigError, EngineError

RAY, SLURM = EngineName.ray, EngineName.slurm


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"workers": 0, "name": RAY}, "engine.workers=0: give at least 1"),
        ({"cpus": 0, "name": RAY}, "engine.cpus=0"),
        ({"gpus": -1.0, "name": RAY}, "engine.gpus=-1.0: give 0 or more"),
        ({"gpus": 1.5, "name": RAY}, "engine.gpus=1.5: give a whole number"),
        ({"gpus": 0.5, "name": SLURM}, "engine.gpus=0.5: give a whole number; parts of one GPU are for engine=ray"),
        ({"hours": 0.0, "name": SLURM}, "engine.hours=0.0"),
        ({"memory_gb": -2.0, "name": SLURM}, "engine.memory_gb=-2.0"),
        ({"workers": 4}, "engine.workers is an option of engine=ray and engine=slurm, and engine=local was given"),
        ({"address": "auto", "name": SLURM}, "engine.address is an option of engine=ray, and engine=slurm"),
        ({"partition": "gpu", "name": RAY}, "engine.partition is an option of engine=slurm"),
    ],
)
def test_invalid_values_and_options_without_effect_are_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        EngineConfig(**options)


@pytest.mark.parametrize("name", [RAY, SLURM])
def test_an_engine_refuses_a_shard_and_a_numbered_gpu(tmp_path, name):
    engine = EngineConfig(name=name)
    with pytest.raises(ConfigError, match=f"shard=1/4: engine={name.value} splits the list itself"):
        make_job(tmp_path, options=ListOptions(shard=Shard(1, 4))).check(engine)
    with pytest.raises(ConfigError, match=r"device=cuda:1: .*Give device=cuda, and engine.gpus"):
        make_job(tmp_path, device="cuda:1").check(engine)
    make_job(tmp_path).check(engine)


@pytest.mark.parametrize(("package", "by_engine"), [("ray", decompose_on_ray), ("submitit", decompose_on_slurm)])
def test_a_missing_package_is_named(files, tmp_path, monkeypatch, package, by_engine):
    monkeypatch.setitem(sys.modules, package, None)
    name = RAY if package == "ray" else SLURM
    message = rf"engine={name.value} is not installed: pip install 'denoising-vit\[{name.value}\]'"
    with pytest.raises(ConfigError, match=message):
        by_engine(files, make_job(tmp_path / "s"), EngineConfig(name=name, workers=1))
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("by_engine", [decompose_on_ray, decompose_on_slurm])
def test_no_images_are_no_work(tmp_path, by_engine):
    assert by_engine([], make_job(tmp_path / "s"), EngineConfig(name=RAY)).total == 0
    assert list(tmp_path.iterdir()) == []


def test_slurm_needs_a_number_of_jobs(files, tmp_path):
    with pytest.raises(ConfigError, match=r"engine.workers is missing"):
        decompose_on_slurm(files, make_job(tmp_path / "s"), EngineConfig(name=SLURM))


def test_a_machine_without_slurm_is_refused(files, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no SLURM on this machine.*engine.cluster=local"):
        decompose_on_slurm(files, make_job(tmp_path / "s"), EngineConfig(name=SLURM, workers=1))
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("cpus", "gpus", "has", "room"),
    [
        (1, 0.0, {"CPU": 8.0}, 8),
        (3, 0.0, {"CPU": 8.0}, 2),
        (1, 1.0, {"CPU": 8.0, "GPU": 4.0}, 4),
        (4, 1.0, {"CPU": 8.0, "GPU": 4.0}, 2),
        (1, 0.4, {"CPU": 8.0, "GPU": 2.0}, 4),
        (1, 0.3, {"CPU": 99.0, "GPU": 1.0}, 3),
        (1, 2.0, {"CPU": 8.0, "GPU": 5.0}, 2),
        (1, 1.0, {"CPU": 8.0}, 0),
        (1, 0.0, {}, 0),
    ],
)
def test_workers_that_fit(cpus, gpus, has, room):
    assert _room(cpus, gpus, has) == room


@pytest.mark.parametrize(
    ("workers", "is_own", "num_images", "size", "said"),
    [
        (None, True, 100, 4, []),
        (None, True, 3, 3, ["3 images keep no more than 3 workers busy, of 4."]),
        (2, True, 100, 2, []),
        (9, True, 100, 4, ["there is room for 4", "4 are started"]),
        (9, False, 100, 9, ["there is room for 4", "the others start when there is more"]),
        (9, False, 2, 2, ["start when there is more", "2 images keep no more than 2 workers busy, of 9."]),
    ],
)
def test_number_of_workers(workers, is_own, num_images, size, said):
    reporter = Recorder()
    engine = EngineConfig(name=RAY, workers=workers)
    assert _num_workers(engine, 0.0, {"CPU": 4.0}, is_own, num_images, reporter) == size
    assert all(part in " ".join(reporter.notes) for part in said) and bool(reporter.notes) == bool(said)


def test_a_machine_without_room_is_refused():
    engine = EngineConfig(name=RAY, cpus=2)
    with pytest.raises(
        ConfigError, match=r"\(CPU cores: 8, GPUs: 0\) has no room for a worker with engine.cpus=2 and 1"
    ):
        _num_workers(engine, 1.0, {"CPU": 8.0}, True, 5, Recorder())
    assert _num_workers(engine, 1.0, {"CPU": 8.0}, False, 5, Recorder()) == 1, "a cluster may grow"


def test_an_unreachable_ray_is_refused():
    class Nowhere:
        @staticmethod
        def init(**options):
            raise ConnectionError("no Ray here.\nA second line.")

    with pytest.raises(EngineError, match=r"engine.address=auto: .*\(no Ray here\.\).*ray start --head"):
        _connect(Nowhere, "auto")


@pytest.mark.parametrize(
    ("device", "given", "has", "gpus"),
    [
        ("cuda", None, {}, 1.0),
        ("auto", None, {"GPU": 2.0}, 1.0),
        ("auto", None, {}, 0.0),
        ("cpu", None, {"GPU": 2.0}, 0.0),
        ("cuda", 0.5, {"GPU": 2.0}, 0.5),
        ("auto", 0.0, {"GPU": 2.0}, 0.0),
    ],
)
def test_gpus_of_a_worker(tmp_path, device, given, has, gpus):
    assert _gpus_per_worker(make_job(tmp_path, device=device), EngineConfig(name=RAY, gpus=given), has) == gpus
