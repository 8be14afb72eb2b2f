"""The picture at the top of the README: raw and clean features of one image, and what they are for.

    .venv/bin/python scripts/front_picture.py weights=FILE out=docs/images/front.jpg

FILE holds the weights of vit_tiny_patch16_224.augreg_in21k_ft_in1k; left out, they are fetched from the hub. The image
is Stéfan van der Walt's Chelsea, CC0, from scikit-image.
"""

import sys

from PIL import Image, ImageDraw
from skimage import data

import dvt
from dvt.viz import PCABasis, colourise, colourise_labels, draw_panel
from dvt.viz.maps import cluster_map, similarity_map
from dvt.viz.panel import Tile

IMAGE_HW = (304, 448)
FINE = 8
"""Cells per patch along each side: one every 2 px."""
EYE_XY = (0.375, 0.44)
"""Place that was clicked, x then y as shares of the image."""
CLUSTERS = 5
TILE_PX, LABEL_PX = 376, 36


def main(weights: str | None, out: str) -> None:
    """Draw the picture."""
    photo = Image.fromarray(data.chelsea())
    backbone = dvt.load_backbone("augreg_tiny", weights=weights, image_size=IMAGE_HW, device="cpu")
    result = dvt.decompose(photo, backbone, fine=FINE)
    maps = {"raw": result.raw, "clean": result.clean, f"clean, {FINE} x {FINE} cells": result.fine}

    basis = PCABasis.fit([result.raw, result.clean])
    cosines = [similarity_map(each, *place(each)) for each in maps.values()]
    low = min(each.min().item() for each in cosines)
    labels = cluster_map(list(maps.values()), CLUSTERS)
    rows = {
        "photograph": (photo, [basis.colours(each) for each in maps.values()]),
        "similarity to a click": (clicked(photo), [colourise(each, low, 1.0, "viridis") for each in cosines]),
        f"{CLUSTERS} clusters": (photo, [colourise_labels(each) for each in labels]),
    }
    aspect = photo.width / photo.height
    tiles = [
        [Tile(title, image), *(Tile(name, one, aspect) for name, one in zip(maps, colours, strict=True))]
        for title, (image, colours) in rows.items()
    ]
    draw_panel(tiles, tile_px=TILE_PX, label_px=LABEL_PX).save(out, quality=90, subsampling=0)


def place(feature_map):
    """Row and column of the patch that was clicked."""
    return int(EYE_XY[1] * feature_map.shape[0]), int(EYE_XY[0] * feature_map.shape[1])


def clicked(photo: Image.Image) -> Image.Image:
    """The photograph with a mark at the click."""
    marked = photo.resize((4 * photo.width, 4 * photo.height), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(marked)
    x, y = (share * side for share, side in zip(EYE_XY, marked.size, strict=True))
    for radius, colour in ((56, "white"), (40, (220, 20, 20))):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return marked


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    main(given.get("weights"), given.get("out", "docs/images/front.jpg"))
