"""Images, the store that a plain run makes of them, and the same work for workers elsewhere."""

import os
from pathlib import Path

import engine_jobs
import pytest
import torch
from PIL import Image

from dvt.backbone.load import load_from_config
from dvt.decomposition.run_list import decompose_list
from dvt.images import find_images
from dvt.store import FeatureStore

NUM_IMAGES = 9


def arrays(store):
    """The bytes of every record."""
    opened = FeatureStore.open(store)
    return {key: (opened[key].raw.numpy().tobytes(), opened[key].clean.numpy().tobytes()) for key in opened}


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for index in range(NUM_IMAGES):
        rng = torch.Generator().manual_seed(index)
        pixels = torch.randint(256, (80, 90, 3), generator=rng, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / f"{index}.png")
    return find_images(folder)


@pytest.fixture(scope="session")
def whole(files, tmp_path_factory):
    """What `decompose_list` makes of the images."""
    store = tmp_path_factory.mktemp("whole") / "store"
    decompose_list(files, load_from_config(engine_jobs.VIT, "cpu"), store, engine_jobs.CONFIG)
    return arrays(store)


@pytest.fixture(scope="session")
def elsewhere():
    """Processes that are started from here find the classes of these tests, and reckon as this one does."""
    here = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((str(here), str(here.parents[1]))))
        patch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
        yield
