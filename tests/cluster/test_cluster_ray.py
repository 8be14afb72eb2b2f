"""Stage 1 on a real Ray: workers die, runs overlap, signals stop it; the store is that of one process."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from cluster_jobs import NUM_IMAGES, GpuFailing, Killing, Recorder, Signing, make_job
from stored import stored_bytes

from dvt.cluster.config import EngineConfig, EngineName
from dvt.cluster.pool import SET_ASIDE
from dvt.cluster.ray import decompose_on_ray
from dvt.errors import EngineError
from dvt.store import FeatureStore, status, verify

pytestmark = pytest.mark.ray
TWO = EngineConfig(name=EngineName.ray, workers=2)


@pytest.fixture(scope="module")
def ray_here(importable):
    """A Ray with places for four workers, however many cores there are."""
    import ray

    before = signal.getsignal(signal.SIGTERM)
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=2**27)
    yield
    ray.shutdown()
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("ray_here")
def test_a_worker_that_is_killed_costs_nothing(files, whole, tmp_path):
    def kill_a_worker(count):
        if count == 2:
            os.kill(int(next(tmp_path.glob("*.pid")).read_text()), signal.SIGKILL)

    reporter = Recorder(kill_a_worker)
    outcome = decompose_on_ray(files, make_job(tmp_path / "s", Signing), TWO, reporter)
    assert (outcome.done, outcome.failed, outcome.interrupted) == (NUM_IMAGES, {}, False)
    assert stored_bytes(tmp_path / "s") == whole and verify(tmp_path / "s").ok
    (note,) = reporter.notes
    assert note.startswith("a worker on node ") and "crashed; " in note and reporter.count == NUM_IMAGES
    assert status(tmp_path / "s").num_runs == 1 and not list((tmp_path / "s").glob(".*")), "no marker is left"
    (record,) = (tmp_path / "s" / "runs").glob("*.json")
    content = json.loads(record.read_text())
    assert content["done"] == NUM_IMAGES and content["engine"]["name"] == "ray" and content["backbone"]["timm"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
@pytest.mark.usefixtures("ray_here")
def test_a_worker_without_a_gpu_says_so_and_there_are_no_more_workers_than_images(files, tmp_path):
    reporter = Recorder()
    engine = EngineConfig(name=EngineName.ray, workers=3, gpus=0.0)
    with pytest.raises(EngineError, match=r"no worker can take part.\non node \S+: device=cuda does not exist"):
        decompose_on_ray(files[:1], make_job(tmp_path / "s", device="cuda"), engine, reporter)
    assert reporter.notes == ["1 image keeps no more than 1 worker busy, of 3."] and not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("kind", "why"),
    [(Killing, "died"), (GpuFailing, "CUDA error: an illegal instruction")],
)
@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_an_image_that_kills_its_worker_is_a_failure_and_the_others_are_done(kind, why, files, whole, tmp_path):
    outcome = decompose_on_ray(files, make_job(tmp_path / "s", kind), TWO)
    assert outcome.done == NUM_IMAGES - 1 and list(outcome.failed) == ["3.png"]
    assert outcome.failed["3.png"].startswith(SET_ASIDE) and why in outcome.failed["3.png"]
    assert FeatureStore.open(tmp_path / "s").failures == outcome.failed
    assert {**stored_bytes(tmp_path / "s"), "3.png": whole["3.png"]} == whole and verify(tmp_path / "s").ok


NODES = """
import sys
from cluster_jobs import NUM_IMAGES, Recorder, make_job
import ray
from ray.cluster_utils import Cluster
from dvt.cluster.config import EngineConfig, EngineName
from dvt.cluster.ray import decompose_on_ray
from dvt.images import find_images

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
ray.init(address=cluster.address, log_to_driver=False)

def lose_one(count):
    if count == 2:
        cluster.remove_node(nodes.pop(), allow_graceful=False)

engine = EngineConfig(name=EngineName.ray, workers=2)
outcome = decompose_on_ray(find_images(sys.argv[1]), make_job(sys.argv[2]), engine, Recorder(lose_one))
assert (outcome.done, outcome.failed, len(nodes)) == (NUM_IMAGES, {}, 1), progress
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.slow
def test_a_node_that_is_lost_costs_nothing(files, whole, tmp_path, importable):
    """In a process of its own, which has another Ray."""
    command = [sys.executable, "-c", NODES, str(files[0].path.parent), str(tmp_path / "s")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert stored_bytes(tmp_path / "s") == whole and verify(tmp_path / "s").ok


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_two_runs_on_one_store_at_once(files, whole, tmp_path):
    runs = []

    def run():
        runs.append(decompose_on_ray(files, make_job(tmp_path / "s"), TWO))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.done + run.skipped for run in runs] == [NUM_IMAGES, NUM_IMAGES]
    assert stored_bytes(tmp_path / "s") == whole and verify(tmp_path / "s").ok


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_command_cleanly_and_the_same_command_continues(files, tmp_path, name):
    """With a Ray of its own; Ctrl-C reaches all processes of a terminal, so the group is sent SIGINT."""
    options = ["backbone.timm=vit_tiny_patch16_224", "backbone.weights=random", "backbone.image_size=64"]
    options += ["quality=tiny", "views.num_views=300", "device=cpu", "engine=ray"]
    command = [sys.executable, "-m", "dvt", "decompose", f"images={files[0].path.parent}", f"store={tmp_path / 's'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(
        [*command, *options], stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    while not (tmp_path / "s" / "meta.json").exists():
        assert run.poll() is None
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT) if name == "SIGINT" else run.terminate()
    _, err = run.communicate()
    assert run.returncode == 130 and "The same command again continues" in err and "Traceback" not in err
    assert verify(tmp_path / "s").ok
    done = len(FeatureStore.open(tmp_path / "s"))
    again = subprocess.run([*command, *options], stderr=subprocess.PIPE, text=True, env=environment, check=True)
    assert f"{NUM_IMAGES - done} done, {done} there already, 0 failed of {NUM_IMAGES} images" in again.stderr
