"""Feature maps beside their image, as rows of tiles: PCA colours, norms, similarity, clusters."""

import math
from collections.abc import Mapping, Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from dvt.errors import DvtError
from dvt.images import ImageLike, read_image
from dvt.shapes import FeatureMap, Float, Int64
from dvt.viz.colours import PCABasis, colourise, colourise_labels
from dvt.viz.maps import MapOfAnySize, cluster_map, norm_map, require_maps, require_patch, similarity_map
from dvt.viz.panel import Tile

_NUM_CLUSTERS = 5
_NORM_SPAN = 100
"""Largest ratio of norms on the colour scale; smaller norms, and zero, get the lowest colour."""


def decomposition_rows(
    image: ImageLike,
    raw: FeatureMap,
    clean: FeatureMap,
    artifact: FeatureMap,
    residual: FeatureMap,
    fine: MapOfAnySize | None = None,
    *,
    patch: tuple[int, int] | None = None,
) -> list[list[Tile]]:
    """The four terms of raw = clean + artifact + residual beside the image, in four rows for `draw_panel`.

    1. PCA colours in one basis, fitted to raw and clean together. The artifact and the residual are differences of
       features: they have the same directions and scale, and no difference is mid-grey. Grey is the mean of the
       artifact, because a constant artifact cannot be distinguished from clean; for the residual, grey is zero.
    2. Norms of the vectors, on one logarithmic scale for all four.
    3. Cosine to one patch.
    4. Clusters of raw and clean together.

    Args:
        image: the image that the maps cover; a path, PIL image, or (3, y, x) tensor in [0, 1].
        raw: (H, W, C), as are the others.
        clean: the part that moves with the image content.
        artifact: the part that depends on the position on the patch grid.
        residual: the rest.
        fine: the clean part at finer cells, one more column; None: no such column.
        patch: row and column for the third row, counted from 0; default: the middle.

    Raises:
        DvtError: maps of different shapes or not finite, or no such patch.
        ImageError: the image cannot be read.
    """
    cells = {} if fine is None else {f"clean, {fine.shape[0]} x {fine.shape[1]} cells": fine}
    terms = {"raw": raw, "clean": clean, "artifact": artifact, "residual": residual}
    maps = {"raw": raw, "clean": clean, **cells, "artifact": artifact, "residual": residual}
    require_maps(list(maps.values()), list(maps))
    for name, feature_map in terms.items():
        if feature_map.shape != raw.shape:
            raise DvtError(
                f"raw has shape {tuple(raw.shape)} and {name} {tuple(feature_map.shape)}."
                " The terms of one decomposition must have one shape."
            )
    basis = PCABasis.fit([raw, clean])
    colours = {
        "raw: PCA": basis.colours(raw),
        "clean: PCA": basis.colours(clean),
        **{f"{name}: PCA": basis.colours(one) for name, one in cells.items()},
        "artifact: same PCA and scale, grey is its mean": basis.deviation_colours(artifact, artifact.mean(dim=(0, 1))),
        "residual: same PCA and scale, grey is zero": basis.deviation_colours(residual),
    }
    return _rows(image, colours, maps, {"raw": raw, "clean": clean, **cells}, patch)


def method_rows(
    image: ImageLike, maps: Mapping[str, MapOfAnySize], *, patch: tuple[int, int] | None = None
) -> list[list[Tile]]:
    """The features of any number of methods beside the image, in four rows for `draw_panel`.

    The rows are PCA colours in one shared basis, norms on one logarithmic scale, cosine to one patch, and shared
    clusters.

    Args:
        image: the image that the maps cover; a path, PIL image, or (3, y, x) tensor in [0, 1].
        maps: (H, W, C) by name; H and W may differ, C must not.
        patch: row and column in the first map, counted from 0; default: the middle. Maps with another number of rows
            or columns use their patch at the same place of the image.

    Raises:
        DvtError: no maps, different C, a map that is not finite, or no such patch.
        ImageError: the image cannot be read.
    """
    require_maps(list(maps.values()), list(maps))
    basis = PCABasis.fit(list(maps.values()))
    colours = {f"{name}: PCA": basis.colours(feature_map) for name, feature_map in maps.items()}
    return _rows(image, colours, maps, maps, patch)


def kept_row(
    image: ImageLike, scores: Mapping[str, Float[Tensor, "H W"]], blocks: Mapping[str, Int64[Tensor, "H W"]]
) -> list[Tile]:
    """What ViTs that drop patches keep of an image, in one row for `draw_panel`: two tiles a method.

    Args:
        image: the image that the maps cover; a path, PIL image, or (3, y, x) tensor in [0, 1].
        scores: by name, how likely each patch is to be kept, in [0, 1].
        blocks: by name, the number of blocks that each patch goes through.

    Raises:
        ImageError: the image cannot be read.
    """
    tiles: dict[str, Tensor] = {}
    for name, score in scores.items():
        most = int(blocks[name].max())
        tiles[f"{name}: score"] = colourise(score, 0.0, 1.0)
        tiles[f"{name}: blocks passed, of {most}"] = colourise(blocks[name].double(), 0.0, float(most))
    return _row(_to_pil(image), "image; what is kept: black 0, yellow 1 or all blocks", tiles)


def colour_row(image: ImageLike, maps: Mapping[str, MapOfAnySize], basis: PCABasis) -> list[Tile]:
    """The PCA colours of any number of methods beside the image, in one row for `draw_panel`: a frame of a video.

    Args:
        image: the image that the maps cover; a path, PIL image, or (3, y, x) tensor in [0, 1].
        maps: (H, W, C) by name.
        basis: fitted to many frames, so that a colour means the same in all of them.

    Raises:
        DvtError: a map that is not finite, or has another number of channels than the basis.
        ImageError: the image cannot be read.
    """
    return _row(_to_pil(image), "image", {f"{name}: PCA": basis.colours(one) for name, one in maps.items()})


def sample_rows(samples: Sequence[tuple[str, Mapping[str, FeatureMap]]]) -> list[list[Tile]]:
    """PCA colours of several images, one row and one basis per image, for `draw_panel`.

    Args:
        samples: name and (H, W, C) maps of each image; the maps have the same names for all images.
    """
    rows = []
    for key, maps in samples:
        basis = PCABasis.fit(list(maps.values()))
        rows.append([Tile(f"{name}: PCA   {key}", basis.colours(one)) for name, one in maps.items()])
    return rows


def _rows(
    image: ImageLike,
    colours: Mapping[str, Tensor],
    maps: Mapping[str, Tensor],
    clustered: Mapping[str, Tensor],
    patch: tuple[int, int] | None,
) -> list[list[Tile]]:
    shown = _to_pil(image)
    first = next(iter(maps.values()))
    row, column = patch or (first.shape[0] // 2, first.shape[1] // 2)
    require_patch(first, row, column)
    patch_xy = ((column + 0.5) / first.shape[1], (row + 0.5) / first.shape[0])
    similarities = {
        f"{name}: similarity": colourise(similarity_map(one, *_patch_at(one, patch_xy)), -1.0, 1.0, "coolwarm")
        for name, one in maps.items()
    }
    num_clusters = min(_NUM_CLUSTERS, sum(one.shape[0] * one.shape[1] for one in clustered.values()))
    labels = cluster_map(list(clustered.values()), num_clusters)
    return [
        _row(shown, "image", colours),
        _norm_row(shown, maps),
        _row(
            _marked(shown, patch_xy),
            "image; cosine to the dot: blue -1, grey 0, red 1",
            similarities,
        ),
        _row(
            shown,
            f"image; {num_clusters} clusters, shared",
            {f"{name}: clusters": colourise_labels(one) for name, one in zip(clustered, labels, strict=True)},
        ),
    ]


def _norm_row(image: Image.Image, maps: Mapping[str, Tensor]) -> list[Tile]:
    """Norms on one logarithmic scale: artifacts can be ten times as large as the rest, and both must be visible."""
    norms = {f"{name}: norm": norm_map(one).double() for name, one in maps.items()}
    high = max(torch.finfo(torch.float32).tiny, *(norm.max().item() for norm in norms.values()))
    low = max(high / _NORM_SPAN, min(norm.min().item() for norm in norms.values()))
    colours = {
        label: colourise(norm.clamp(min=low).log(), math.log(low), math.log(high)) for label, norm in norms.items()
    }
    return _row(image, f"image; norm, log scale: black {low:.3g}, yellow {high:.3g}", colours)


def _row(image: Image.Image, heading: str, colours: Mapping[str, Float[Tensor, "H W 3"]]) -> list[Tile]:
    aspect = image.width / image.height
    return [Tile(heading, image), *(Tile(label, one, aspect) for label, one in colours.items())]


def _to_pil(image: ImageLike) -> Image.Image:
    pixels = read_image(image).permute(1, 2, 0)
    return Image.fromarray((pixels.cpu() * 255).round().to(torch.uint8).numpy())


def _patch_at(feature_map: Tensor, patch_xy: tuple[float, float]) -> tuple[int, int]:
    """Row and column of the patch at a place of the image; x and y in [0, 1]."""
    x, y = patch_xy
    return int(y * feature_map.shape[0]), int(x * feature_map.shape[1])


def _marked(image: Image.Image, patch_xy: tuple[float, float]) -> Image.Image:
    """The image with a red dot in a white ring."""
    marked = image.copy()
    x, y = patch_xy[0] * image.width, patch_xy[1] * image.height
    radius = max(image.size) / 36
    draw = ImageDraw.Draw(marked)
    for share, colour in ((1.0, (255, 255, 255)), (0.65, (220, 20, 20))):
        r = share * radius
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    return marked
