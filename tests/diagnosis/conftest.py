"""Images, and the diagnosis of a model with planted artifacts."""

import pytest
import torch
from PIL import Image
from planted_model import CHANNELS, PlantedModel
from torch.nn import functional

from dvt.diagnosis.config import DoctorConfig
from dvt.diagnosis.diagnose import diagnose_layers
from dvt.diagnosis.mic import position_mic
from dvt.diagnosis.windows import Choice
from dvt.images import find_images
from dvt.images.resize import resize


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """24 image files."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    folder.mkdir()
    for number in range(24):
        rng = torch.Generator().manual_seed(number)
        pixels = resize(torch.rand(3, 24, 30, generator=rng), (150, 190)).clamp(0, 1)
        image = Image.fromarray((pixels * 255).byte().permute(1, 2, 0).numpy())
        image.save(folder / f"{number}.png")
    return find_images(folder)


@pytest.fixture(scope="session")
def _mic_once():
    """position_mic, the slowest score, computed once for every sample: most layers are the same in all tests."""
    known = {}

    def once(sample):
        key = sample.tokens.numpy().tobytes(), sample.rows_columns.numpy().tobytes(), tuple(sample.hw)
        if key not in known:
            known[key] = position_mic(sample)
        return known[key]

    return once


@pytest.fixture
def diagnosed(photos, _mic_once, monkeypatch):
    """diagnosed(block5=change) -> the diagnosis of such a model."""
    monkeypatch.setattr("dvt.diagnosis.scores.position_mic", _mic_once)
    return lambda **changes: diagnose_layers(PlantedModel(**changes), Choice(tuple(photos), {}), DoctorConfig())


@pytest.fixture(scope="session")
def plant():
    """Artifacts: functions of content and images."""
    rng = torch.Generator().manual_seed(3)
    fixed = functional.normalize(torch.randn(10, 10, CHANNELS, generator=rng), dim=-1)
    direction = functional.normalize(torch.randn(CHANNELS, generator=rng), dim=0)
    ramp = torch.linspace(-1, 1, 10)[:, None, None] * direction

    def pattern(size):
        return lambda maps, _: maps + size * fixed

    def slope(size):
        return lambda maps, _: maps + size * ramp

    def corners(size):
        def change(maps, _):
            maps[:, 0, 0] = maps[:, 0, -1] = maps[:, -1, 0] = maps[:, -1, -1] = size * direction
            return maps

        return change

    def wandering(size):
        def change(maps, images):
            for one, image in zip(maps, images, strict=True):
                places = functional.avg_pool2d(image.mean(dim=0)[None], 8)[0].flatten().topk(3).indices
                one.view(-1, CHANNELS)[places] = size * direction
            return maps

        return change

    return {"pattern": pattern, "slope": slope, "corners": corners, "wandering": wandering}
