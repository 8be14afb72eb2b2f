"""Photographs and the examination of a reader with planted artifacts."""

import pytest
import torch
from PIL import Image
from planted_reader import CHANNELS, PlantedReader
from torch.nn import functional

from dvt.diagnosis.config import DoctorConfig
from dvt.diagnosis.diagnosis import diagnose
from dvt.diagnosis.examine import examine
from dvt.images import find_images
from dvt.images.resize import resize


@pytest.fixture
def photos(tmp_path):
    """24 pictures, files."""
    for number in range(24):
        rng = torch.Generator().manual_seed(number)
        pixels = resize(torch.rand(3, 24, 30, generator=rng), (150, 190)).clamp(0, 1)
        image = Image.fromarray((pixels * 255).byte().permute(1, 2, 0).numpy())
        image.save(tmp_path / f"{number}.png")
    return find_images(tmp_path)


@pytest.fixture
def examined(photos):
    """examined(block5=change) -> the examination of such a reader and its diagnosis."""

    def make(**changes):
        examination = examine(PlantedReader(**changes), photos, DoctorConfig(num_images=24))
        return examination, diagnose(examination)

    return make


@pytest.fixture
def plant():
    """Artifacts: functions of content and pictures."""
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
