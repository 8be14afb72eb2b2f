"""Ensembles: copies are put back where their image is, and what belongs to the position averages out."""

import pytest
import torch

import dvt
from dvt.backbone.features import Features
from dvt.errors import BackboneError
from dvt.grid import PatchGrid
from dvt.methods.ensemble import Copy, Ensemble
from dvt.runtime import Precision


class Planted:
    """Features of a patch: its mean colour, plus a vector per position."""

    precision, device = Precision.fp32, torch.device("cpu")

    def __init__(self):
        self.pattern = torch.randn(6, 9, 3)

    def grid_for(self, image_hw):
        return PatchGrid.of(image_hw, 8)

    def __call__(self, images):
        colours = torch.nn.functional.avg_pool2d(images, 8).permute(0, 2, 3, 1)
        prefix = images.mean(dim=(2, 3))[:, None]
        return Features(patches=colours + self.pattern, prefix=prefix, grid=self.grid_for(images.shape[-2:]))


HW = (48, 72)
"""6 x 9 patches of 8 px."""


@pytest.mark.parametrize("copy", [Copy(), Copy(mirrored=True), Copy(rows=2, columns=5), Copy(True, 1, 4)])
def test_copies_are_put_back(copy):
    model, images = Planted(), torch.rand(2, 3, *HW)
    model.pattern = torch.zeros(6, 9, 3)
    back = copy.put_back(model(copy.of(images, 8)).patches)
    torch.testing.assert_close(back, model(images).patches)


@pytest.mark.other_types  # the planted model has what an ensemble calls, and no more
@pytest.mark.parametrize(("name", "cost"), [("flip", 2), ("shift", 9)])
def test_the_mean_has_the_content_and_a_mean_of_the_pattern(name, cost):
    model, image = Planted(), torch.rand(3, *HW)
    method = Ensemble(name, model)
    found = method([image], HW)
    colours = torch.nn.functional.avg_pool2d(image, 8).permute(1, 2, 0)
    left = found.patches[0] - colours
    if name == "flip":
        wanted = (model.pattern + model.pattern.flip(1)) / 2
    else:
        thirds = [torch.roll(model.pattern, (down, right), dims=(0, 1)) for down in (0, 2, 4) for right in (0, 3, 6)]
        wanted = torch.stack(thirds).mean(dim=0)
    torch.testing.assert_close(left, wanted)
    assert left.var() < model.pattern.var() / 1.5 and method.cost == cost
    torch.testing.assert_close(found.prefix[0, 0], image.mean(dim=(1, 2)))


def test_of_a_real_vit():
    vit = dvt.load_backbone("vit_micro", image_size=96, device="cpu")
    image = torch.rand(3, 100, 120)
    flip, mirrored = Ensemble("flip", vit)([image], (96, 96)), Ensemble("flip", vit)([image.flip(-1)], (96, 96))
    torch.testing.assert_close(flip.patches, mirrored.patches.flip(2), atol=1e-4, rtol=1e-3)
    assert Ensemble("flip", vit).options != Ensemble("shift", vit).options
    with pytest.raises(BackboneError, match=r"flip moves images by whole patches, and backbone\.stride=8"):
        Ensemble("flip", dvt.load_backbone("vit_micro", image_size=96, stride=8, device="cpu"))([image], (96, 96))
