"""From one resident picture and its crops to a batch of views, on the device of the picture."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from dvt.images.resize import resize
from dvt.shapes import ImageBatch, ImageTensor
from dvt.views.config import Source, ViewsConfig
from dvt.views.crop import Crop

SourceImage = Float[Tensor, "3 source_y source_x"]
"""The picture that views are cut from; of another size than they are."""


def make_source(image: ImageTensor, view_hw: tuple[int, int], config: ViewsConfig) -> SourceImage:
    """The picture that crops are cut from.

    `native` keeps the picture's own resolution, but no more than the smallest crop can show: a side on which even
    that crop would be shrunk is brought down first, which bounds memory for pictures of any size.
    """
    if config.source is Source.squashed:
        return resize(image, view_hw, mode="bilinear")  # as the released code does
    height, width = image.shape[-2:]
    squash = view_hw[0] / view_hw[1]
    flattest = (config.aspect_max * squash / config.area_min) ** 0.5  # picture heights per crop height
    narrowest = (1 / (config.aspect_min * squash * config.area_min)) ** 0.5  # picture widths per crop width
    useful = (min(height, round(view_hw[0] * flattest)), min(width, round(view_hw[1] * narrowest)))
    return resize(image, useful)


def render_views(source: SourceImage, crops: Sequence[Crop], view_hw: tuple[int, int]) -> ImageBatch:
    """Cut, resize and flip: one view per crop.

    Args:
        source: the picture on the compute device, values in [0, 1].
        crops: boxes in whole pixels of `source`.
        view_hw: height and width in pixels of a view.

    Returns:
        (V, 3, y, x) views. Bicubic interpolation may step a little outside [0, 1]; nothing is clipped, as in the
        original. A crop never sees beyond its box.
    """
    views = source.new_empty((len(crops), 3, *view_hw))
    for view, crop in zip(views, crops, strict=True):
        box = source[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        shown = resize(box, view_hw)
        view.copy_(shown.flip(-1) if crop.flip else shown)
    return views
