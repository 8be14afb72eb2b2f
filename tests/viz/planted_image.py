"""Feature maps of a scene with few directions, an artifact and noise: like those of a ViT, and cheap."""

import torch

from dvt.viz.explorer import ExplorerImage


def planted_image(name="cat.jpg", seed=0, hw=(6, 8), channels=96, fine=2, **given):
    """An image with maps raw and clean, clean at `fine` cells a patch, and the terms of stage 1."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    rows, columns = hw
    directions = torch.randn(12, channels, generator=torch.Generator().manual_seed(99))  # all scenes have the same
    cells = normal(rows * fine, columns * fine, 12) @ directions + 2
    clean = cells.reshape(rows, fine, columns, fine, channels).mean(dim=(1, 3))
    artifact = 0.5 * normal(rows, columns, 3) @ directions[:3]
    residual = 0.1 * normal(rows, columns, channels)
    photo = torch.rand(3, 60, 80, generator=generator)
    maps = {"raw": clean + artifact + residual, "clean": clean, "clean@fine": cells}
    terms = {"artifact": artifact, "residual": residual}
    return ExplorerImage(**{"name": name, "maps": maps, "photo": photo, "terms": terms, **given})


def cosines(one, other=None):
    """(H, W, H', W') cosines between all patches of a map, or of two maps."""
    first = torch.nn.functional.normalize(one.double(), dim=-1)
    second = first if other is None else torch.nn.functional.normalize(other.double(), dim=-1)
    return torch.einsum("abc,dec->abde", first, second)
