"""Render the views of one image from its crops, on the device of the image."""

from collections.abc import Sequence

from torch import Tensor

from dvt.images.resize import resize
from dvt.shapes import Float, ImageBatch, ImageTensor
from dvt.views.config import Source, ViewsConfig
from dvt.views.crop import Crop

SourceImage = Float[Tensor, "3 source_y source_x"]
"""The image that views are cropped from."""


def make_source(image: ImageTensor, view_hw: tuple[int, int], config: ViewsConfig) -> SourceImage:
    """The image that crops are taken from.

    `native` keeps the image's own resolution up to the detail that the smallest crop can show. A longer side, on which
    even that crop would be downscaled, is reduced first. This bounds memory for images of any size.
    """
    if config.source is Source.squashed:
        return resize(image, view_hw, mode="bilinear")  # as the released code does
    height, width = image.shape[-2:]
    squash = view_hw[0] / view_hw[1]
    flattest = (config.aspect_max * squash / config.area_min) ** 0.5  # image heights per crop height
    narrowest = (1 / (config.aspect_min * squash * config.area_min)) ** 0.5  # image widths per crop width
    useful = (min(height, round(view_hw[0] * flattest)), min(width, round(view_hw[1] * narrowest)))
    return resize(image, useful)


def render_views(source: SourceImage, crops: Sequence[Crop], view_hw: tuple[int, int]) -> ImageBatch:
    """Crop, resize and flip: one view per crop.

    Args:
        source: the image on the compute device, values in [0, 1].
        crops: boxes in whole pixels of `source`.
        view_hw: height and width of a view in pixels.

    Returns:
        (V, 3, y, x) views. Bicubic interpolation may slightly exceed [0, 1]; values are not clipped, as in the
        released code. No pixel outside the box contributes.
    """
    views = source.new_empty((len(crops), 3, *view_hw))
    for view, crop in zip(views, crops, strict=True):
        box = source[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        shown = resize(box, view_hw)
        view.copy_(shown.flip(-1) if crop.flip else shown)
    return views
