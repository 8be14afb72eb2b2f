"""Features of many images of one size, in batches that fit into memory; `Backbone.forward` computes one batch."""

import logging
from collections.abc import Callable
from math import ceil
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dvt.backbone.features import FeatureExtractor
from dvt.errors import BackboneError
from dvt.progress import SILENT, Reporter
from dvt.shapes import FeatureMaps

_log = logging.getLogger(__name__)

_fitting: WeakKeyDictionary[FeatureExtractor, int] = WeakKeyDictionary()
"""Batch size that fitted, of backbones that ran out of memory before."""


def extract(
    backbone: FeatureExtractor,
    render: Callable[[slice], Tensor],
    count: int,
    batch_size: int = 32,
    reporter: Reporter = SILENT,
) -> FeatureMaps:
    """The patch features of images or views.

    Batches have nearly the same size. When GPU memory runs out they are halved, with one warning; later calls start
    with the smaller size.

    Args:
        backbone: the ViT.
        render: makes the images of a part of the list: (B, 3, y, x) RGB in [0, 1], all of one size.
        count: number of images, at least 1.
        batch_size: most images per forward pass, at least 1.
        reporter: advances by the images of each batch.

    Returns:
        (count, H, W, C) float32 on the backbone's device.

    Raises:
        BackboneError: one image alone does not fit into memory.
        GeometryError: the image size does not fit patch and stride.
    """
    assert count >= 1 and batch_size >= 1, (count, batch_size)
    batch_size = min(batch_size, _fitting.get(backbone, batch_size))
    batch_size = ceil(count / ceil(count / batch_size))  # 129 views by 32: no extra pass for the last one
    out: Tensor | None = None
    start = 0
    while start < count:
        part = slice(start, min(start + batch_size, count))
        try:
            patches = backbone(render(part)).patches
            if out is None:
                out = patches.new_empty((count, *patches.shape[1:]), dtype=torch.float32)
            out[part] = patches
        except torch.OutOfMemoryError as error:
            if part.stop - start == 1:
                raise BackboneError(
                    f"one image of {backbone.grid.image_hw[0]} x {backbone.grid.image_hw[1]} px, or the features of all"
                    f" {count} views, do not fit into the memory of {backbone.device}. Use fewer views, a smaller"
                    " image_size, a larger stride, precision=bf16, or a smaller ViT."
                ) from error
            if backbone not in _fitting:
                _log.warning("out of memory on %s: batches of %d are halved.", backbone.device, part.stop - start)
            batch_size = _fitting[backbone] = (part.stop - start) // 2
        else:
            reporter.advance(part.stop - part.start)
            start = part.stop
    assert out is not None
    return out
