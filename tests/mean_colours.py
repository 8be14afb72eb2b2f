"""A method whose features are known: the mean colour of every patch."""

from dataclasses import replace

import torch
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.grid import PatchGrid
from dvt.methods.method import stack_resized
from dvt.spec import FeatureSpec


class MeanColours:
    """Features are the mean colour of every patch; one prefix token is that of the whole image.

    `see` changes the images before, `give` the features after; `seen` and `shapes` record what came.
    """

    def __init__(self, patch=8, stride=None, name="raw", see=lambda images: images, give=lambda features: features):
        self.name, self.cost = name, 1
        self.patch, self.stride, self.see, self.give = patch, stride or patch, see, give
        self.seen, self.shapes, self.sizes = [], set(), set()

        self.options = {}

    @property
    def spec(self):
        return FeatureSpec(
            backbone="mean colours", weights_hash="0", layer=0, norm=False, channels=3,
            grid=self.grid_for((self.patch, self.patch)),
        )  # fmt: skip

    def grid_for(self, image_hw):
        return PatchGrid.of(image_hw, self.patch, self.stride)

    def __call__(self, images, image_hw):
        self.seen.append(len(images))
        self.shapes |= {tuple(image.shape[1:]) for image in images}
        self.sizes.add(image_hw)
        images = stack_resized(self.see(images), image_hw, torch.device("cpu"))
        patches = functional.avg_pool2d(images, self.patch, self.stride).permute(0, 2, 3, 1)
        prefix = images.mean(dim=(2, 3))[:, None]
        return self.give(Features(patches=patches, prefix=prefix, grid=self.grid_for(image_hw)))


def constant(features):
    """The features of a method that sees nothing."""
    return replace(features, patches=torch.full_like(features.patches, 0.5))
