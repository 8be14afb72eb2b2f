"""A method whose features are known: the mean colour of every patch."""

import torch
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.grid import PatchGrid
from dvt.methods.method import stack_resized


class MeanColours:
    """Features are the mean colour of every patch, one prefix token that of the whole picture."""

    def __init__(self, patch=8, stride=None, name="raw"):
        self.name, self.num_channels, self.passes = name, 3, 1
        self.patch, self.stride, self.seen = patch, stride or patch, []

    @property
    def fingerprint(self):
        return {"mean colours": self.patch, "stride": self.stride}

    def grid_for(self, image_hw):
        return PatchGrid.of(image_hw, self.patch, self.stride)

    def __call__(self, pictures, image_hw):
        self.seen.append(len(pictures))
        images = stack_resized(pictures, image_hw, torch.device("cpu"))
        patches = functional.avg_pool2d(images, self.patch, self.stride).permute(0, 2, 3, 1)
        return Features(patches=patches, prefix=images.mean(dim=(2, 3))[:, None], grid=self.grid_for(image_hw))
