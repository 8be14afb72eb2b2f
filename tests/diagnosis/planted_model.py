"""A model whose features are known: brightness of the parts of each patch, with artifacts planted in some layers."""

import torch
from torch.nn import functional

from dvt.diagnosis.layers import Layer
from dvt.grid import PatchGrid

CHANNELS = 24


class PlantedModel:
    """Blocks 0, 1, 4, 5 and an output; the last two blocks and the output are judged. Each layer may be changed."""

    def __init__(self, **changes):
        self.name = "planted"
        self.grid = PatchGrid.of((80, 80), 8)
        self.device = torch.device("cpu")
        self.layers = [Layer(block=block, normed=False, late=block > 3) for block in (0, 1, 4, 5)]
        self.layers.append(Layer(block=5, normed=True, late=True))
        self.changes = changes
        rng = torch.Generator().manual_seed(7)
        self.mixing = torch.linalg.qr(torch.randn(CHANNELS, CHANNELS, generator=rng)).Q[:12]

    def __call__(self, images):
        quarters = functional.unfold(functional.avg_pool2d(images, 4), 2, stride=2)
        content = quarters.unflatten(2, self.grid.hw).permute(0, 2, 3, 1) - 0.5
        content = content @ self.mixing / content.norm(dim=-1).square().mean().sqrt()  # norms about 1
        maps = []
        for layer in self.layers:
            change = self.changes.get("output" if layer.normed else f"block{layer.block}")
            maps.append(content if change is None else change(content.clone(), images))
        return maps
