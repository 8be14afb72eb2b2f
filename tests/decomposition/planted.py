"""A backbone without a ViT whose F, G, outliers and noise are known."""

import torch
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.grid import PatchGrid


def coordinate_image(height=320, width=320):
    """An image whose red is x and whose green is y, so that the planted backbone knows where it looks."""
    y = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    x = ((torch.arange(width) + 0.5) / width)[None, :].expand(height, width)
    return torch.stack((x, y, torch.zeros(height, width)))


class PlantedBackbone:
    """raw = F(place) + G(position) + noise, and a share of tokens that are something else altogether."""

    def __init__(self, channels=24, outliers=0.02, strangeness=10.0, noise=0.1, seed=0, hw=(224, 224)):
        rng = torch.Generator().manual_seed(seed)
        self.grid = PatchGrid.of(hw, 16)
        self.device = torch.device("cpu")
        # mixtures of six waves of at most three periods over the image: what a grid of patches can show, and of low
        # rank like real features (the paper's network has half as many hidden units as channels)
        self.waves = torch.rand(2, 6, generator=rng) * 6 - 3
        self.shift = torch.rand(6, generator=rng)
        self.mixture = torch.randn(6, channels, generator=rng) / 6**0.5
        artifact = torch.randn(*self.grid.hw, channels, generator=rng) * 0.5
        self.artifact = artifact - artifact.mean(dim=(0, 1))
        self.outliers, self.strangeness, self.noise = outliers, strangeness, noise
        self.rng = rng

    def clean_at(self, image_xy):
        return torch.sin(2 * torch.pi * (image_xy @ self.waves + self.shift)) @ self.mixture

    def __call__(self, images):
        seen = functional.avg_pool2d(images[:, :2], self.grid.patch).permute(0, 2, 3, 1)
        raw = self.clean_at(seen) + self.artifact
        raw = raw + self.noise * torch.randn(raw.shape, generator=self.rng)
        strange = torch.rand(raw.shape[:3], generator=self.rng) < self.outliers
        raw[strange] = self.strangeness * torch.randn(int(strange.sum()), raw.shape[-1], generator=self.rng)
        return Features(patches=raw, prefix=raw.flatten(1, 2)[:, :0], grid=self.grid)


def correlation(a, b):
    """Pearson correlation of all entries."""
    return float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1])


def centred_cosine(a, b):
    """Mean cosine of vectors after taking each map's mean away."""
    a, b = (each - each.mean(dim=(0, 1)) for each in (a, b))
    return float(torch.cosine_similarity(a, b, dim=-1).mean())
