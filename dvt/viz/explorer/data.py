"""The data of an explorer page: features of an image, reduced by PCA and quantised to int8, as plain JSON.

Layout, version 1. Arrays are base64 of little-endian bytes, row-major. N is the number of patches of a map, K the
number of dimensions kept, C the number of channels.

    format, version     "dvt explorer", 1
    name                name of the image
    photo               the image as a data URI; null: none
    width, height       of the image in pixels; of the first map where there is none
    frame               left, top, width and height of the rectangle that the maps cover, as shares of the image
    channels            C
    cosine_error        max and mean difference between the cosines of these data and of the features; number of pairs
    offset, step        float32 (K): a direction is offset + step * features, scaled to length 1
    basis, basis_step   int8 (K, C), float32 (K): the K orthonormal rows of the PCA, basis_step * basis
    norm_range          lowest and highest norm of the colour scale of the maps
    term_range          the same for the terms; null: no terms
    maps                name, rows, columns; features int8 (N, K); norms float32 (N); colours uint8 (N, 3), PCA colours
    terms               artifact and residual of stage 1: name, rows, columns; norms and colours as in maps

A page that computes features by itself gives `dvtExplorer.show` the same, with typed arrays in place of base64, and
without PCA: basis and cosine_error are null, offset, step and basis_step are left out, and features are float32 (N, C),
directions of length 1.

The PCA is not centred and is fitted to directions (vectors of length 1), so that it keeps cosines. Its K dimensions are
shared by all maps of the image, and so are the colours, which come from `PCABasis`. A vector of zeros has norm 0 and
cosine 0 to everything.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from dvt.errors import DvtError
from dvt.grid import PatchGrid
from dvt.images import ImageLike, read_image
from dvt.shapes import Float, Float64, Int
from dvt.viz.colours import PCABasis
from dvt.viz.maps import MapOfAnySize, norm_map, require_maps

FORMAT: Final = "dvt explorer"
VERSION: Final = 1
MAX_IMAGE_BYTES: Final = 3_000_000
"""Largest share of one image of the HTML file."""
MAX_PAGE_BYTES: Final = 48_000_000
"""Largest HTML file; the images share it evenly."""
DIMENSIONS: Final = 64
"""Dimensions that are kept if the budget allows it and cosines are accurate enough."""
TOLERANCE: Final = 0.01
"""Largest error of a cosine that is accepted without adding dimensions."""

_PAGE_BYTES = 100_000
"""Reserved for the page itself."""
_LEAST_DIMENSIONS = 16
"""With fewer, cosines mean little."""
_STEPS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Multiples of `DIMENSIONS` that are tried until the error is at most `TOLERANCE`."""
_QUERIES = 128
"""Patches per map whose cosines to all others are compared with the exact ones."""
_PHOTO_SIDE, _PHOTO_QUALITY = 800, 85
"""Longer side of the image in pixels, and its JPEG quality."""
_NORM_SPAN = 100
"""Largest ratio of norms on the colour scale, as in the panels of `dvt show`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ExplorerImage:
    """One image and its features."""

    name: str
    """Name of the image."""
    maps: Mapping[str, MapOfAnySize]
    """(H, W, C) features by name of the method; H and W may differ, C must not."""
    photo: ImageLike | None = None
    """The image that the maps cover; None: the page shows the maps alone."""
    terms: Mapping[str, MapOfAnySize] = field(default_factory=dict)
    """(H, W, C) artifact and residual of stage 1, by these names."""
    grid: PatchGrid | None = None
    """Grid of one of the maps, for the margin of overlapping patches; None: the maps cover the whole image."""


def image_budget(num_images: int) -> int:
    """Bytes that one of `num_images` images may have in a page."""
    return min(MAX_IMAGE_BYTES, MAX_PAGE_BYTES // num_images) - _PAGE_BYTES


def require_room(num_images: int, num_patches: int) -> None:
    """Refuse more images than a page can hold, before they are computed.

    Args:
        num_images: number of images.
        num_patches: patches per image, over all methods.

    Raises:
        DvtError: names the size that they need and the way out.
    """
    needed = _bytes_of(num_patches, _LEAST_DIMENSIONS) + _photo_bytes() + _PAGE_BYTES
    if needed > MAX_IMAGE_BYTES:
        raise DvtError(
            f"{num_patches} features per image need {needed / 1e6:.1f} MB, and a page holds {MAX_IMAGE_BYTES / 1e6:.0f}"
            " MB per image. Give fewer methods, a smaller fine=, or a smaller backbone.image_size."
        )
    if needed * num_images > MAX_PAGE_BYTES:
        raise DvtError(
            f"{num_images} images with {num_patches} features each need {needed * num_images / 1e6:.0f} MB, and a page"
            f" holds {MAX_PAGE_BYTES / 1e6:.0f} MB. Give at most {MAX_PAGE_BYTES // needed} images, or fewer methods."
        )


def image_data(image: ExplorerImage, max_bytes: int = image_budget(1)) -> dict[str, Any]:
    """The features of an image as plain JSON, in the layout above.

    Args:
        image: the image.
        max_bytes: largest size as JSON. Fewer dimensions are kept where it needs them.

    Raises:
        DvtError: no methods, features that are not finite, maps of different channels, or a budget that is too small.
        ImageError: the image cannot be read.

    Examples:
        >>> maps = torch.rand(2, 14, 14, 192, generator=torch.Generator().manual_seed(0))
        >>> data = image_data(ExplorerImage(name="noise", maps={"raw": maps[0], "clean": maps[1]}))
        >>> data["version"], [each["name"] for each in data["maps"]]
        (1, ['raw', 'clean'])
    """
    if not image.maps:
        raise DvtError(f"{image.name}: no features were given. Give those of at least one method.")
    named = {**image.maps, **image.terms}
    require_maps(list(named.values()), [f"{name} of {image.name}" for name in named])
    photo = None if image.photo is None else _photo(image.photo)
    rows, columns = next(iter(image.maps.values())).shape[:2]
    width, height = photo.size if photo else (columns, rows)
    photo_uri = None if photo is None else _jpeg_uri(photo)

    num_patches = sum(each.shape[0] * each.shape[1] for each in named.values())
    channels = next(iter(image.maps.values())).shape[-1]
    room = max_bytes - len(photo_uri or "") - _text_bytes(named)
    reduced = _reduce(list(image.maps.values()), _most_dimensions(num_patches, channels, room, image.name))

    basis = PCABasis.fit(list(image.maps.values()))
    colours = {name: basis.colours(each) for name, each in image.maps.items()}
    for name, term in image.terms.items():
        colours[name] = basis.deviation_colours(term, term.mean(dim=(0, 1)) if name == "artifact" else None)
    norms = {name: norm_map(each) for name, each in named.items()}
    drawn = {name: _drawn(name, norms[name], colours[name]) for name in named}
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": image.name,
        "photo": photo_uri,
        "width": width,
        "height": height,
        "frame": _frame(image.grid),
        "channels": channels,
        "cosine_error": reduced.error,
        "offset": _base64(reduced.offset, "<f4"),
        "step": _base64(reduced.step, "<f4"),
        "basis": _base64(reduced.basis, "i1"),
        "basis_step": _base64(reduced.basis_step, "<f4"),
        "norm_range": _norm_range([norms[name] for name in image.maps]),
        "term_range": _norm_range([norms[name] for name in image.terms]) if image.terms else None,
        "maps": [
            {**drawn[name], "features": _base64(quantised, "i1")}
            for name, quantised in zip(image.maps, reduced.quantised, strict=True)
        ],
        "terms": [drawn[name] for name in image.terms],
    }


@dataclass(frozen=True, eq=False)
class _Reduced:
    """Directions of all maps in K dimensions, quantised."""

    quantised: list[Int[Tensor, "_ K"]]
    offset: Float64[Tensor, " K"]
    step: Float64[Tensor, " K"]
    basis: Int[Tensor, "K C"]
    basis_step: Float64[Tensor, " K"]
    error: dict[str, float]


def _reduce(maps: Sequence[Tensor], most: int) -> _Reduced:
    """The fewest dimensions from `DIMENSIONS` up to `most` whose cosines are within `TOLERANCE`; else `most`."""
    directions = [torch.nn.functional.normalize(each.detach().cpu().double(), dim=-1).flatten(0, 1) for each in maps]
    # Every map has the same weight, whatever its number of patches.
    _, vectors = torch.linalg.eigh(sum(each.T @ each / len(each) for each in directions))
    components = vectors.T.flip(0)[:most]
    largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
    components = components * largest.sign()
    projected = [each @ components.T for each in directions]
    queries = [torch.linspace(0, len(each) - 1, min(_QUERIES, len(each))).round().long() for each in directions]
    exact = [each[query] @ each.T for each, query in zip(directions, queries, strict=True)]

    counts = sorted({min(most, round(DIMENSIONS * step)) for step in _STEPS})
    for count in counts:
        offset, step = _affine([each[:, :count] for each in projected])
        quantised = [((each[:, :count] - offset) / step).round() for each in projected]
        read = [_directions(each, offset, step, vector) for each, vector in zip(quantised, directions, strict=True)]
        errors = [
            (each[query] @ each.T - cosines).abs() for each, query, cosines in zip(read, queries, exact, strict=True)
        ]
        worst = max(each.max().item() for each in errors)
        if worst <= TOLERANCE:
            break
    pairs = sum(each.numel() for each in errors)
    error = {"max": worst, "mean": sum(each.sum().item() for each in errors) / pairs, "pairs": pairs}
    kept = components[:count]
    basis_step = kept.abs().amax(dim=1) / 127
    rounded = (kept / basis_step[:, None]).round().to(torch.int8)
    return _Reduced([each.to(torch.int8) for each in quantised], offset, step, rounded, basis_step, error)


def _affine(projected: Sequence[Tensor]) -> tuple[Float64[Tensor, " K"], Float64[Tensor, " K"]]:
    """Offset and step of every dimension: its range over all maps is -127 to 127; as float32, as they are stored."""
    together = torch.cat(list(projected))
    low, high = together.amin(dim=0), together.amax(dim=0)
    step = ((high - low) / 254).clamp(min=1e-12)
    return ((low + high) / 2).float().double(), step.float().double()


def _directions(quantised: Tensor, offset: Tensor, step: Tensor, original: Tensor) -> Float64[Tensor, "N K"]:
    """Directions as the page reads them; vectors of zeros stay zero."""
    return torch.nn.functional.normalize(offset + step * quantised, dim=-1) * (original != 0).any(dim=-1, keepdim=True)


def _most_dimensions(num_patches: int, channels: int, room: int, name: str) -> int:
    """Dimensions that `room` bytes hold.

    Raises:
        DvtError: fewer than `_LEAST_DIMENSIONS`.
    """
    per_dimension = 4 / 3 * (num_patches + channels)
    most = math.floor((room - _bytes_of(num_patches, 0)) / per_dimension)
    if most < min(_LEAST_DIMENSIONS, channels):
        raise DvtError(
            f"{name}: {num_patches} features in {_LEAST_DIMENSIONS} dimensions do not fit into {room / 1e6:.1f} MB."
            " Give fewer methods, a smaller fine=, or fewer images for one page."
        )
    return min(most, channels)


def _bytes_of(num_patches: int, dimensions: int) -> int:
    """Size of features, norms and colours in base64."""
    return math.ceil(4 / 3 * num_patches * (dimensions + 4 + 3))


def _photo_bytes() -> int:
    """A size that few images exceed in base64."""
    return _PHOTO_SIDE * _PHOTO_SIDE // 2


def _text_bytes(names: Mapping[str, Any]) -> int:
    """Size of everything that is neither image nor array: names, numbers, punctuation."""
    return 4000 + sum(300 + 12 * len(name) for name in names)


def _photo(image: ImageLike) -> Image.Image:
    """The image, made smaller where it is large."""
    pixels = (read_image(image).permute(1, 2, 0).cpu() * 255).round().to(torch.uint8).numpy()
    photo = Image.fromarray(pixels)
    photo.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE), Image.Resampling.LANCZOS)
    return photo


def _jpeg_uri(photo: Image.Image) -> str:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=_PHOTO_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _frame(grid: PatchGrid | None) -> list[float]:
    """Left, top, width and height of what the maps cover, as shares of the image."""
    if grid is None:
        return [0.0, 0.0, 1.0, 1.0]
    (height, width), (rows, columns) = grid.image_hw, grid.hw
    return [grid.margin / width, grid.margin / height, columns * grid.step / width, rows * grid.step / height]


def _norm_range(norms: Sequence[Float[Tensor, "_ _"]]) -> list[float]:
    """Lowest and highest norm of the logarithmic colour scale."""
    high = max(torch.finfo(torch.float32).tiny, *(each.max().item() for each in norms))
    return [max(high / _NORM_SPAN, min(each.min().item() for each in norms)), high]


def _drawn(name: str, norms: Float[Tensor, "H W"], colours: Float[Tensor, "H W 3"]) -> dict[str, Any]:
    """What is stored of every map and term."""
    return {
        "name": name,
        "rows": norms.shape[0],
        "columns": norms.shape[1],
        "norms": _base64(norms, "<f4"),
        "colours": _base64((colours * 255).round(), "u1"),
    }


def _base64(values: Tensor, dtype: str) -> str:
    array: npt.NDArray[Any] = values.numpy().astype(np.dtype(dtype))
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
