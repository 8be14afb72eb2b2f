"""Stage 1 on a real Ray: killed, poisoned, twice at once, stopped; the store is that of a plain run."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
from engine_jobs import NUM_IMAGES, Faulty, Poisoned, Telling, make_job
from stored import stored_bytes

from dvt.cluster.config import EngineConfig, EngineName
from dvt.cluster.fleet import GIVEN_UP
from dvt.cluster.ray import decompose_on_ray
from dvt.errors import EngineError
from dvt.store import FeatureStore, status, verify

TWO = EngineConfig(name=EngineName.ray, workers=2)


@pytest.fixture(scope="module")
def ray_here(elsewhere):
    """A Ray with places for four workers, however many cores there are."""
    import ray

    before = signal.getsignal(signal.SIGTERM)
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=2**27)
    yield
    ray.shutdown()
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("ray_here")
def test_a_worker_that_is_killed_costs_nothing(files, whole, tmp_path):
    notes, killed = [], []

    def kill_its_worker(progress, key):
        if progress.done >= 2 and not killed:
            killed.append(key)
            os.kill(int((tmp_path / f"{key}.pid").read_text()), signal.SIGKILL)

    progress = decompose_on_ray(files, make_job(tmp_path / "s", Telling), TWO, kill_its_worker, notes.append)
    assert killed and (progress.done, progress.failed, progress.interrupted) == (NUM_IMAGES, {}, False)
    assert stored_bytes(tmp_path / "s") == whole and verify(tmp_path / "s").ok
    (note,) = notes
    assert note.startswith("a worker on node ") and "died; " in note
    assert status(tmp_path / "s").num_runs == 1 and not list((tmp_path / "s").glob(".*")), "the token is gone"
    (record,) = (tmp_path / "s" / "runs").glob("*.json")
    content = json.loads(record.read_text())
    assert content["done"] == NUM_IMAGES and content["engine"]["name"] == "ray" and content["backbone"]["timm"]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
@pytest.mark.usefixtures("ray_here")
def test_a_worker_without_a_gpu_says_so_and_there_are_no_more_workers_than_images(files, tmp_path):
    notes = []
    engine = EngineConfig(name=EngineName.ray, workers=3, gpus=0.0)
    with pytest.raises(EngineError, match=r"no worker can take part.\non node \S+: device=cuda does not exist"):
        decompose_on_ray(files[:1], make_job(tmp_path / "s", device="cuda"), engine, on_note=notes.append)
    assert notes == ["1 image keeps no more than 1 worker busy, of 3."] and not (tmp_path / "s").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "why"), [(Poisoned, "died"), (Faulty, "CUDA error: an illegal instruction")])
@pytest.mark.usefixtures("ray_here")
def test_an_image_that_kills_its_worker_is_a_failure_and_the_others_are_done(kind, why, files, whole, tmp_path):
    progress = decompose_on_ray(files, make_job(tmp_path / "s", kind), TWO)
    assert progress.done == NUM_IMAGES - 1 and list(progress.failed) == ["3.png"]
    assert progress.failed["3.png"].startswith(GIVEN_UP) and why in progress.failed["3.png"]
    assert FeatureStore.open(tmp_path / "s").failures == progress.failed
    assert {**stored_bytes(tmp_path / "s"), "3.png": whole["3.png"]} == whole and verify(tmp_path / "s").ok


NODES = """
import sys
from engine_jobs import NUM_IMAGES, make_job
import ray
from ray.cluster_utils import Cluster
from dvt.cluster.config import EngineConfig, EngineName
from dvt.cluster.ray import decompose_on_ray
from dvt.images import find_images

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
ray.init(address=cluster.address, log_to_driver=False)

def lose_one(progress, key):
    if progress.done >= 2 and nodes:
        cluster.remove_node(nodes.pop(), allow_graceful=False)
        nodes.clear()

engine = EngineConfig(name=EngineName.ray, workers=2)
progress = decompose_on_ray(find_images(sys.argv[1]), make_job(sys.argv[2]), engine, lose_one)
assert (progress.done, progress.failed, nodes) == (NUM_IMAGES, {}, []), progress
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.slow
def test_a_node_that_is_lost_costs_nothing(files, whole, tmp_path, elsewhere):
    """In a process of its own, for it has another Ray."""
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
def test_a_signal_ends_the_command_in_good_order_and_the_same_command_continues(files, tmp_path, name):
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
        threading.Event().wait(0.1)
    threading.Event().wait(3)
    os.killpg(run.pid, signal.SIGINT) if name == "SIGINT" else run.terminate()
    _, err = run.communicate()
    assert run.returncode == 130 and "The same command again continues" in err and "Traceback" not in err
    assert verify(tmp_path / "s").ok
    done = len(FeatureStore.open(tmp_path / "s"))
    again = subprocess.run([*command, *options], stderr=subprocess.PIPE, text=True, env=environment, check=True)
    assert f"{NUM_IMAGES - done} done, {done} there already, 0 failed of {NUM_IMAGES} images" in again.stderr
