"""Images of noise: all different, and the same each time."""

import torch
from PIL import Image


def write_noise(path, hw, seed=0):
    """Write an image of that size; make its folder if needed. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = torch.Generator().manual_seed(seed)
    Image.fromarray(torch.randint(256, (*hw, 3), generator=rng, dtype=torch.uint8).numpy()).save(path)
    return path
