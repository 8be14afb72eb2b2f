"""Images, the store that a plain run makes of them, and the same work for workers elsewhere."""

import os
from pathlib import Path

import engine_jobs
import pytest
import torch
from noise import write_noise
from stored import stored_bytes

from dvt.backbone.load import load_from_config
from dvt.decomposition.run_list import decompose_list
from dvt.images import find_images


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for index in range(engine_jobs.NUM_IMAGES):
        write_noise(folder / f"{index}.png", (80, 90), seed=index)
    return find_images(folder)


@pytest.fixture(scope="session")
def whole(files, tmp_path_factory):
    """What `decompose_list` makes of the images."""
    store = tmp_path_factory.mktemp("whole") / "store"
    decompose_list(files, load_from_config(engine_jobs.VIT, "cpu"), store, engine_jobs.CONFIG)
    return stored_bytes(store)


@pytest.fixture(scope="session")
def elsewhere():
    """Processes that are started from here find the classes of these tests, and reckon as this one does."""
    here = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((str(here), str(here.parents[1]))))
        patch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
        yield
