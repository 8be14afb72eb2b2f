"""Features of many images of one size, in batches."""

import logging

import torch
from torch import Tensor

from dvt.backbone.backbone import Backbone
from dvt.errors import BackboneError
from dvt.shapes import FeatureMaps, ImageBatch

_log = logging.getLogger(__name__)


def extract(backbone: Backbone, images: ImageBatch, batch_size: int = 32, out: Tensor | None = None) -> FeatureMaps:
    """The patch features of images or views.

    Where the memory of a GPU does not suffice, the batch is halved, which is said once.

    Args:
        backbone: the ViT.
        images: (N, 3, y, x) RGB in [0, 1], on any device; each batch is moved to the backbone's.
        batch_size: images per forward pass, at least 1.
        out: (N, H, W, C) tensor to write to, of any device and floating-point type; a new one when left out, on the
            backbone's device and in its number format.

    Returns:
        (N, H, W, C), `out` where it was given.

    Raises:
        BackboneError: not even one image fits into the memory.
        GeometryError: the image size does not fit patch and stride.
    """
    assert batch_size >= 1, batch_size
    shape = (len(images), *backbone.grid_for((images.shape[2], images.shape[3])).hw, backbone.num_channels)
    if out is None:
        out = torch.empty(shape, dtype=backbone.precision.dtype, device=backbone.device)
    assert out.shape == shape, f"out has shape {tuple(out.shape)}, the features have {shape}"
    start, halved = 0, False
    while start < len(images):
        batch = images[start : start + batch_size]
        try:
            out[start : start + len(batch)] = backbone(batch).patches
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise BackboneError(
                    f"one image of {images.shape[2]} x {images.shape[3]} px does not fit into the memory of"
                    f" {backbone.device}. Use a smaller image_size, a larger stride, precision=bf16, or a smaller ViT."
                ) from error
            batch_size, was_halved, halved = len(batch) // 2, halved, True
            if not was_halved:
                _log.warning("out of memory on %s: batches of %d images are halved.", backbone.device, len(batch))
        else:
            start += len(batch)
    return out
