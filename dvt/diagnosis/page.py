"""The diagnosis as an HTML page: words, scores, maps, and the features of some images in an explorer."""

from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path

from PIL import Image

from dvt.diagnosis.layers import Layer, LayerFeatures
from dvt.diagnosis.report import LEGEND, Diagnosis
from dvt.errors import DvtError
from dvt.images import MAX_PIXELS, ImageFile, read_image
from dvt.images.resize import resize
from dvt.viz.explorer import ExplorerImage, explorer_frame, image_data
from dvt.viz.explorer.data import image_budget, require_room
from dvt.viz.page import html_figure, html_list, write_page

NUM_SHOWN = 3
"""Images on a page, the first of those that were measured."""


def write_diagnosis_page(
    path: str | Path,
    diagnosis: Diagnosis,
    advice: Sequence[str],
    figure: Image.Image,
    model: LayerFeatures,
    images: Sequence[ImageFile],
    *,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Write a diagnosis as one self-contained page.

    Args:
        path: the file; an existing one is replaced.
        diagnosis: what was measured and found.
        advice: what to do, a sentence or an indented command each.
        figure: what `draw_diagnosis` drew.
        model: the model that was measured.
        images: the images that were measured.
        max_pixels: larger images are refused.

    Raises:
        DvtError: features that are not finite, or more patches than a page holds.
        ImageError: an image cannot be read.
        DiskError: the file cannot be written.
    """
    parts = [
        html_list(diagnosis.words().splitlines()),
        "<h2>What to do</h2>",
        f"<pre>{escape(chr(10).join(advice))}</pre>",
        "<h2>Scores</h2>",
        f"<pre>{escape(f'{diagnosis.table()}{chr(10) * 2}{LEGEND}')}</pre>",
        html_figure("scores over depth, and maps of every layer over the grid", figure),
        "<h2>Features</h2>",
        _explorer(model, images[:NUM_SHOWN], max_pixels),
    ]
    write_page(path, f"{diagnosis.model}, {diagnosis.grid}, {diagnosis.num_images} images", parts)


def _explorer(model: LayerFeatures, images: Sequence[ImageFile], max_pixels: int) -> str:
    shown = layers_that_fit(model.layers, len(images), model.grid.num_patches)
    data = []
    for file in images:
        whole = read_image(file.path, max_pixels=max_pixels)
        features = model(resize(whole, model.grid.image_hw)[None].to(model.device))
        maps = {layer.name: each[0] for layer, each in zip(model.layers, features, strict=True)}
        seen = {layer.name: maps[layer.name] for layer in shown}
        one = ExplorerImage(name=file.key, maps=seen, photo=whole, grid=model.grid)
        data.append(image_data(one, image_budget(len(images))))
    return explorer_frame(data, title="Features", about=f"layers of {model.name}, {model.grid}")


def layers_that_fit(layers: Sequence[Layer], num_images: int, num_patches: int) -> list[Layer]:
    """The layers that a page shows, the last ones first: all, or the late ones, or the output alone.

    Args:
        layers: the layers that were measured.
        num_images: number of images.
        num_patches: patches per image and layer.

    Raises:
        DvtError: a page does not hold one layer.
    """
    late = [layer for layer in layers if layer.late]
    for some in (list(layers), late):
        with suppress(DvtError):
            require_room(num_images, len(some) * num_patches)
            return some[::-1]
    require_room(num_images, num_patches)
    return [layers[-1]]
