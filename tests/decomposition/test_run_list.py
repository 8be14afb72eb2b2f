"""Stage 1 for a list: resumes, shards, survives bad images, Ctrl-C and kill -9, and the result is always the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from noise import write_noise
from PIL import Image
from stored import stored_bytes

import dvt
from dvt.backbone.load import load_backbone
from dvt.decomposition.outcome import Outcome
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run_list import ListOptions, decompose_list
from dvt.decomposition.shard import Shard
from dvt.decomposition.store_method import ByDecomposition
from dvt.errors import ConfigError, StoreError
from dvt.images import find_images
from dvt.progress import SilentReporter
from dvt.store import FeatureStore, verify

CONFIG = load_quality("tiny", {"num_views": 4})
NUM_IMAGES = 7


@pytest.fixture(scope="module")
def vit():
    return make_vit()


def make_vit():
    return load_backbone("vit_tiny_patch16_224", weights="random", image_size=64, device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for index in range(NUM_IMAGES):
        write_noise(folder / f"{index}.png", (80, 90), seed=index)
    return folder


@pytest.fixture(scope="module")
def whole(vit, folder, tmp_path_factory):
    """The store of an uninterrupted run."""
    store = tmp_path_factory.mktemp("whole") / "store"
    decompose_list(find_images(folder), vit, store, CONFIG)
    return stored_bytes(store)


class Heard(SilentReporter):
    """A reporter that keeps the calls, and calls `then` after an image."""

    def __init__(self, then=lambda number: None):
        self.calls, self.number, self.then = [], 0, then

    def start(self, total, unit, task=""):
        self.calls.append((total, unit, task))

    def advance(self, count=1, note=""):
        self.number += count
        self.then(self.number)

    def note(self, text):
        self.calls.append(text)


def test_everything_is_done_once(vit, folder, whole, tmp_path):
    assert sorted(whole) == [f"{index}.png" for index in range(NUM_IMAGES)]
    files = find_images(folder)
    first = decompose_list(files[:3], vit, tmp_path / "s", CONFIG)
    assert (first.done, first.skipped, first.total) == (3, 0, 3)
    reporter = Heard()
    second = decompose_list(files, vit, tmp_path / "s", CONFIG, reporter=reporter)
    assert (second.done, second.skipped, second.total) == (NUM_IMAGES - 3, 3, NUM_IMAGES)
    assert reporter.calls == [f"3 of {NUM_IMAGES} images are in the store already", (4, "images", "decompose")]
    assert reporter.number == 4
    assert stored_bytes(tmp_path / "s") == whole


def test_an_image_that_does_not_fit_into_the_memory_does_not_stop_the_others(vit, folder, whole, tmp_path, monkeypatch):
    def without_room(self, image, key):
        if key == "2.png":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return as_it_is(self, image, key)

    as_it_is = ByDecomposition.__call__
    monkeypatch.setattr(ByDecomposition, "__call__", without_room)
    progress = decompose_list(find_images(folder), vit, tmp_path / "s", CONFIG)
    assert list(progress.failed) == ["2.png"] and "does not fit into the memory" in progress.failed["2.png"]
    assert stored_bytes(tmp_path / "s") == {key: value for key, value in whole.items() if key != "2.png"}


def test_shards_and_order_change_nothing(vit, folder, whole, tmp_path):
    files = find_images(folder)
    for index in (2, 0, 1):
        decompose_list(files, vit, tmp_path / "s", CONFIG, ListOptions(shard=Shard(index, 3)))
    assert stored_bytes(tmp_path / "s") == whole
    decompose_list(files[::-1], vit, tmp_path / "r", CONFIG)
    assert stored_bytes(tmp_path / "r") == whole


def test_another_seed_is_another_store(vit, folder, tmp_path):
    files = find_images(folder)[:1]
    decompose_list(files, vit, tmp_path / "s", CONFIG)
    with pytest.raises(StoreError, match="seed"):
        decompose_list(files, vit, tmp_path / "s", CONFIG, ListOptions(seed=1))


def test_a_store_of_another_backbone_grid_or_solver_is_refused(vit, folder, tmp_path):
    files = find_images(folder)[:1]
    decompose_list(files, vit, tmp_path / "s", CONFIG)
    other = load_backbone("vit_tiny_patch16_224", weights="random", image_size=96, device="cpu")
    with pytest.raises(StoreError, match="grid"):
        decompose_list(files, other, tmp_path / "s", CONFIG)
    deit = load_backbone("deit_tiny_patch16_224", weights="random", image_size=64, device="cpu")
    with pytest.raises(StoreError, match="deit_tiny"):
        decompose_list(files, deit, tmp_path / "s", CONFIG)
    with pytest.raises(StoreError, match="smoothness"):
        decompose_list(files, vit, tmp_path / "s", load_quality("tiny", {"num_views": 4, "smoothness": 7.0}))


def test_options_that_change_speed_alone_do_not_make_another_store(vit, folder, whole, tmp_path):
    files = find_images(folder)
    decompose_list(files[:2], vit, tmp_path / "s", CONFIG)
    progress = decompose_list(files, vit, tmp_path / "s", load_quality("tiny", {"num_views": 4, "batch_size": 3}))
    assert progress.skipped == 2


def test_bad_images_are_written_down_and_do_not_stop_the_others(vit, folder, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "good.png").write_bytes((folder / "0.png").read_bytes())
    (photos / "text.jpg").write_text("not an image")
    (photos / "cut.png").write_bytes((folder / "1.png").read_bytes()[:2000])
    Image.new("RGB", (1, 1)).save(photos / "dot.png")
    progress = decompose_list(find_images(photos), vit, tmp_path / "s", CONFIG)
    assert progress.done == 1 and sorted(progress.failed) == ["cut.png", "dot.png", "text.jpg"]
    assert "smaller than one patch" in progress.failed["dot.png"]
    opened = FeatureStore.open(tmp_path / "s")
    assert list(opened) == ["good.png"] and sorted(opened.failures) == sorted(progress.failed)
    (photos / "text.jpg").write_bytes((folder / "2.png").read_bytes())  # repaired: the same run retries it
    again = decompose_list(find_images(photos), vit, tmp_path / "s", CONFIG)
    assert (again.done, again.skipped, sorted(again.failed)) == (1, 1, ["cut.png", "dot.png"])


def test_the_artifact_is_stored_on_demand(vit, folder, tmp_path):
    files = find_images(folder)[:1]
    decompose_list(files, vit, tmp_path / "s", CONFIG, ListOptions(arrays=("clean", "artifact")))
    record = FeatureStore.open(tmp_path / "s")["0.png"]
    assert record.artifact.shape == (4, 4, 192) and record.artifact.abs().max() > 0
    with pytest.raises(StoreError, match="raw"):
        _ = record.raw


@pytest.mark.parametrize(
    ("error", "crash"),
    [
        (RuntimeError("the sky fell"), "RuntimeError: the sky fell"),
        (SystemExit(1), ""),  # a batch system ends the process: an interruption
    ],
)
def test_a_run_that_ends_early_is_on_record_and_what_was_done_is_kept(vit, folder, tmp_path, error, crash):
    def end(number):
        if number == 2:
            raise error

    with pytest.raises(type(error)):
        decompose_list(find_images(folder), vit, tmp_path / "s", CONFIG, reporter=Heard(end))
    assert len(FeatureStore.open(tmp_path / "s")) == 2
    (path,) = (tmp_path / "s" / "runs").glob("*.json")
    record = json.loads(path.read_text())
    assert record["crash"] == crash and record["interrupted"] is not bool(crash)


def test_parts_add_up_to_the_whole(vit, folder, tmp_path):
    files = find_images(folder)
    whole = Outcome(total=NUM_IMAGES)
    decompose_list(files[:1], vit, tmp_path / "s", CONFIG)
    for index in (0, 1):
        part = decompose_list(files, vit, tmp_path / "s", CONFIG, ListOptions(shard=Shard(index, 2)))
        spent_before = whole.seconds["extract"]
        whole.add_part(part)
        assert whole.seconds["extract"] == spent_before + part.seconds["extract"]
    assert (whole.done, whole.skipped, whole.left, whole.crash) == (NUM_IMAGES - 1, 1, 0, "")
    whole.add_part(Outcome(1, failed={"a": "bad"}, damaged=["x"], interrupted=True, crash="one"))
    whole.add_part(Outcome(1, failed={"b": "worse"}, damaged=["x", "y"], crash="two"))
    assert whole.failed == {"a": "bad", "b": "worse"} and whole.damaged == ["x", "y"]
    assert whole.interrupted and whole.crash == "one\ntwo"


def test_a_run_record_stands_beside_the_features(vit, folder, tmp_path):
    decompose_list(find_images(folder)[:1], vit, tmp_path / "s", CONFIG)
    (record,) = (tmp_path / "s" / "runs").glob("*.json")
    content = json.loads(record.read_text())
    assert content["done"] == 1 and content["config"]["views"]["num_views"] == 4
    assert content["backbone"]["weights_hash"] == vit.weights_hash
    assert content["environment"]["torch"] == torch.__version__
    assert content["seconds_by_part"]["extract"] > 0


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0.0), ("float16", 2e-3), ("int8", 3e-2)])
def test_a_stored_field_reads_as_that_of_decompose(vit, folder, tmp_path, dtype, tolerance):
    """At any grid or place, up to the rounding of the nodes to the store's number format."""
    config, files = load_quality("tiny", {"num_views": 4, "fine": 2, "nodes_per_patch": 2}), find_images(folder)[:2]
    store = tmp_path / "s"
    decompose_list(files, vit, store, config, ListOptions(dtype=dtype))
    opened = FeatureStore.open(store)
    assert opened.meta.shapes["field"] == (8, 8, 192) and verify(store).ok
    for file in files:
        alone = dvt.decompose(file.path, vit, "tiny", dvt.seed_for(0, file.key), num_views=4, nodes_per_patch=2, fine=3)
        field, grid = opened[file.key].field, alone.grid
        scale = float(alone.field.values.abs().max())
        for where in (grid.finer(2), grid.finer(3), torch.rand(50, 2)):
            assert (field.read(where) - alone.field.read(where)).abs().max() <= tolerance * scale
        assert (field.read(grid) - alone.clean).abs().max() <= tolerance * scale
        assert (field.read(grid.finer(3)) - alone.fine).abs().max() <= tolerance * scale
        assert torch.equal(opened[file.key].clean, FeatureStore.open(store)[file.key].array("clean"))


def test_another_number_of_cells_continues_a_store_of_fields_and_none_does_not(vit, folder, tmp_path):
    """The nodes are the same for every `fine` above 1."""
    files = find_images(folder)[:2]
    two, three, one = (load_quality("tiny", {"num_views": 4, "fine": fine}) for fine in (2, 3, 1))
    decompose_list(files[:1], vit, tmp_path / "s", two)
    assert decompose_list(files, vit, tmp_path / "s", three).skipped == 1
    with pytest.raises(StoreError, match=r"field: '4 x 4 nodes' in the store, None in the request"):
        decompose_list(files, vit, tmp_path / "s", one)


def test_f_of_a_network_is_not_stored(vit, folder, tmp_path):
    config = load_quality("tiny", {"num_views": 4, "fine": 2, "solver": "gradient"})
    with pytest.raises(ConfigError, match=r"fine=2 solver=gradient: a store holds F as nodes"):
        decompose_list(find_images(folder), vit, tmp_path / "s", config)
    assert not (tmp_path / "s").exists()


RUN = """
import sys, time
from decomposition.test_run_list import CONFIG, Heard, make_vit
from dvt.decomposition.run_list import decompose_list
from dvt.images import find_images
from dvt.store import StoreWriter

def slowly(number):
    print(number, flush=True)
    time.sleep(60 if number == int(sys.argv[3]) else 0.05)

open_writer = StoreWriter.open.__func__
StoreWriter.open = classmethod(lambda cls, *a, **k: open_writer(cls, *a, **k, shard_bytes=1))  # commit every image
progress = decompose_list(find_images(sys.argv[1]), make_vit(), sys.argv[2], CONFIG, reporter=Heard(slowly))
print("interrupted" if progress.interrupted else "finished", flush=True)
"""


def start(folder, store, stop_after=0):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), str(store), str(stop_after)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.process
def test_kill_9_at_a_random_moment_then_resume_equals_an_uninterrupted_run(vit, folder, whole, tmp_path):
    store = tmp_path / "s"
    process = start(folder, store)
    assert process.stdout.readline()  # the list has begun
    time.sleep(random.uniform(0, 0.4))  # another one every time
    process.kill()
    process.communicate()
    outcome = decompose_list(find_images(folder), vit, store, CONFIG)
    assert outcome.left == 0 and not outcome.failed
    assert stored_bytes(store) == whole
    assert verify(store).ok


@pytest.mark.process
def test_ctrl_c_keeps_what_is_done_and_says_so(folder, whole, tmp_path):
    process = start(folder, tmp_path / "s", stop_after=2)
    while process.stdout.readline() != "2\n":
        pass
    process.send_signal(signal.SIGINT)
    assert process.communicate()[0].endswith("interrupted\n")
    kept = stored_bytes(tmp_path / "s")
    assert len(kept) == 2 and all(whole[key] == kept[key] for key in kept)


def test_shard_text():
    assert Shard.parse("2/4") == Shard(2, 4)
    for text in ("4/4", "1", "a/b", "-1/2", "1/0", ""):
        with pytest.raises(ConfigError, match="give i/n"):
            Shard.parse(text)
