"""Results as HTML in notebooks: a small explorer in a frame."""

from dvt.errors import DvtError
from dvt.grid import PatchGrid
from dvt.shapes import FeatureMap, FeatureMaps, FineMap
from dvt.viz.explorer.data import ExplorerImage, image_data
from dvt.viz.explorer.page import explorer_frame

MAX_BYTES = 900_000
"""Largest size of what a notebook stores of one result."""
_PAGE_BYTES = 80_000
"""Reserved for the page without its images."""
_MAX_IMAGES = 4
"""Images of a batch that are shown, from the first."""


def decomposition_html(
    raw: FeatureMap, clean: FeatureMap, artifact: FeatureMap, residual: FeatureMap, fine: FineMap, grid: PatchGrid
) -> str | None:
    """The terms of stage 1 as an explorer in a frame; None where they do not fit or are not finite.

    Args:
        raw: (H, W, C), as are the next three.
        clean: F at the patches.
        artifact: G.
        residual: the rest.
        fine: (H fine, W fine, C) F at finer cells; left out where it has no more cells than `clean`, or does not fit.
        grid: the patches.
    """
    maps = {"raw": raw, "clean": clean}
    finer = {} if fine.shape == clean.shape else {f"clean, {fine.shape[0]} x {fine.shape[1]}": fine}
    terms = {"artifact": artifact, "residual": residual}
    for shown in [{**maps, **finer}, maps] if finer else [maps]:
        image = ExplorerImage(name="image", maps=shown, terms=terms, grid=grid)
        html = _frame([image], "Decomposition", f"{grid}, {raw.shape[-1]} channels")
        if html is not None:
            return html
    return None


def features_html(patches: FeatureMaps, grid: PatchGrid) -> str | None:
    """The first images of a batch as an explorer in a frame; None where they do not fit or are not finite.

    Args:
        patches: (B, H, W, C) features.
        grid: the patches.
    """
    images = [
        ExplorerImage(name=f"image {number}", maps={"features": each}, grid=grid)
        for number, each in enumerate(patches[:_MAX_IMAGES])
    ]
    left_out = f", the first {len(images)} shown" if len(patches) > len(images) else ""
    return _frame(images, "Features", f"{len(patches)} images{left_out}, {grid}, {patches.shape[-1]} channels")


def _frame(images: list[ExplorerImage], title: str, about: str) -> str | None:
    if not images:
        return None
    budget = (MAX_BYTES - _PAGE_BYTES) // len(images)
    try:
        data = [image_data(image, budget) for image in images]
    except DvtError:
        return None
    return explorer_frame(data, title=title, about=about)
