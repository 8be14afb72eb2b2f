"""A backbone with features to order, and SRT done the long way: with a value for every pixel."""

import torch

from dvt.backbone.backbone import Backbone, Readout
from dvt.backbone.features import Features
from dvt.backbone.sources.timm_build import build_vit
from dvt.backbone.sources.timm_reader import TimmReader
from dvt.runtime import Precision


class Planted(Backbone):
    """`tokens(windows) -> (B, H, W, C)` of the pixels (B, 3, H, W, P, P) of all patches; `prefix(images)` likewise."""

    def __init__(self, tokens, patch=4, image_hw=(12, 20), stride=None, prefix=None):
        vit = build_vit("vit_tiny_patch16_224", depth=1, embed_dim=8, num_heads=1, patch_size=patch)
        readout = Readout.of(TimmReader(vit).facts, image_hw, stride, -1, True)
        super().__init__(TimmReader(vit), readout, name="planted", weights_hash="planted", precision=Precision.fp32)
        self.tokens, self.seen = tokens, []
        self.prefix = prefix

    def forward(self, images):
        grid = self.grid_for((images.shape[2], images.shape[3]))
        self.seen.append(len(images))
        windows = images.unfold(2, grid.patch, grid.stride).unfold(3, grid.patch, grid.stride)
        patches = self.tokens(windows)
        prefix = self.prefix(images) if self.prefix else patches[:, :0, 0]
        return Features(patches=patches, prefix=prefix, grid=grid)


def coarse(windows):
    """Some values of each patch that no shift leaves alone: not linear in the pixels, and other ones at every place."""
    patch = windows.shape[-1]
    rng = torch.Generator().manual_seed(5)
    weights = torch.randn(6, 3, patch, patch, generator=rng)
    content = torch.einsum("bihwyx,ciyx->bhwc", windows, weights)
    place = torch.randn(*content.shape[1:], generator=rng)
    return torch.sin(3 * content) + place


def moved(images, dy, dx, fill="edge", colour=0.0):
    """The images with their content moved, pixel by pixel; the content beyond the edge depends on `fill`."""
    height, width = images.shape[2:]
    rows, columns = torch.arange(height) - dy, torch.arange(width) - dx
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    if fill == "reflect":
        rows, columns = mirrored(rows, height), mirrored(columns, width)
    shown = images[:, :, rows.clamp(0, height - 1)][:, :, :, columns.clamp(0, width - 1)]
    return torch.where(inside, shown, colour) if fill == "mean" else shown


def mirrored(index, size):
    """-1 -> 1, size -> size - 2; the edge pixel is not repeated."""
    return torch.where(index >= size, 2 * (size - 1) - index, index.abs())


def per_pixel(maps, stride, dy, dx):
    """(B, H stride, W stride, C) token maps of a view repeated over pixels and moved back, and which pixels they cover.

    Pixels outside are zero.
    """
    large = maps.repeat_interleave(stride, dim=1).repeat_interleave(stride, dim=2)
    height, width = large.shape[1:3]
    rows, columns = torch.arange(height) + dy, torch.arange(width) + dx
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    back = large[:, rows.clamp(0, height - 1)][:, :, columns.clamp(0, width - 1)]
    return back * inside[..., None], inside


def pooled(large, cell):
    """(B, y, x, C) -> (B, y / cell, x / cell, C) means."""
    batch, height, width, channels = large.shape
    return large.reshape(batch, height // cell, cell, width // cell, cell, channels).mean(dim=(2, 4))


def long_way(backbone, images, moves, fine=1):
    """The mean over all (view, pixel) pairs in each cell."""
    stride = backbone.grid.stride
    total = weight = 0.0
    for dy in moves:
        for dx in moves:
            maps = backbone(moved(images, dy, dx)).patches
            large, inside = per_pixel(maps, stride, dy, dx)
            total = total + pooled(large, stride // fine)
            weight = weight + pooled(inside[None, ..., None].float(), stride // fine)
    return total / weight
