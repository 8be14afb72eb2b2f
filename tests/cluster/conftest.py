"""Images, and the store that one process makes of them."""

import os
from pathlib import Path

import cluster_jobs
import pytest
import torch
from noise import write_noise
from stored import stored_bytes

from dvt.backbone.load import load_from_config
from dvt.decomposition.run_list import decompose_list
from dvt.images import find_images


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for index in range(cluster_jobs.NUM_IMAGES):
        write_noise(folder / f"{index}.png", (80, 90), seed=index)
    return find_images(folder)


@pytest.fixture(scope="session")
def whole(files, tmp_path_factory):
    """Content of the store that `decompose_list` makes."""
    store = tmp_path_factory.mktemp("whole") / "store"
    decompose_list(files, load_from_config(cluster_jobs.VIT, "cpu"), store, cluster_jobs.CONFIG)
    return stored_bytes(store)


@pytest.fixture(scope="session")
def importable():
    """Child processes can import the classes of these tests, and use as many threads as this one."""
    here = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((str(here), str(here.parents[1]))))
        patch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
        yield
