"""Pictures of noise: all different, and the same each time."""

import torch
from PIL import Image


def write_noise(path, hw, seed=0):
    """A picture of that size, in a folder that is made where needed; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = torch.Generator().manual_seed(seed)
    Image.fromarray(torch.randint(256, (*hw, 3), generator=rng, dtype=torch.uint8).numpy()).save(path)
    return path
