"""Stage 1 for one image: views, features, solution."""

from dataclasses import replace
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from dvt.backbone.batches import extract
from dvt.backbone.features import FeatureExtractor, check_model, num_layers_of
from dvt.decomposition.closed_form import solve_closed_form
from dvt.decomposition.config import DecomposeConfig, Solver
from dvt.decomposition.fine import check_fine_size, warn_if_finer_than_nodes
from dvt.decomposition.neural_field.fit import solve_gradient
from dvt.decomposition.quality import load_quality
from dvt.decomposition.result import Decomposition
from dvt.decomposition.solution import Solution, ViewTokens, held_out_error, joined
from dvt.errors import DecompositionError, ImageError
from dvt.images import MAX_PIXELS, ImageLike, read_image
from dvt.numbers import takes_numbers
from dvt.progress import SILENT, Reporter
from dvt.shapes import FeatureMap, ImageTensor
from dvt.torch_state import own_torch_state
from dvt.views.coordinates import crop_xy
from dvt.views.crop import Crop, random_crops, sample_crops
from dvt.views.render import make_source, render_views


@takes_numbers
def decompose(
    image: ImageLike,
    backbone: FeatureExtractor,
    quality: str = "fast",
    seed: int = 0,
    *,
    max_pixels: int = MAX_PIXELS,
    **overrides: Any,
) -> Decomposition:
    """Separate the raw features of an image into clean features, artifact and residual.

    Args:
        image: a path, a PIL image, or a (3, y, x) float tensor in [0, 1], any size.
        backbone: result of `dvt.load_backbone`.
        quality: draft, fast, best, paper, reference or tiny, a named option set (`configs/quality`).
        seed: seed of the crops, and of the fit with `solver="gradient"`. `decompose_list` uses
            `dvt.seed_for(seed, key)` for each image.
        max_pixels: larger images raise an error.
        **overrides: single options, such as `num_views=64`, `solver="gradient"`, `views={"area_min": 0.05}`;
            `fine=4` reads F at 4 x 4 cells per patch as well.

    Returns:
        `.raw`, `.clean`, `.artifact`, `.residual`, each (H, W, C) float32 on the CPU; `.fine`, (H fine, W fine, C), F
        at the cells of `.fine_grid`; `.field`, which can be read at any grid or place; `.diagnostics`.

    Raises:
        ImageError: the image cannot be read, or is smaller than a patch.
        ConfigError: an unknown or invalid option, or `fine` so large that a map of 1000 channels needs more than
            8 GB.
        BackboneError: `backbone` is not a backbone, or does not fit in memory.
        DecompositionError: the features are not finite.

    Examples:
        >>> import dvt, torch
        >>> backbone = dvt.load_backbone("vit_micro", image_size=64, device="cpu")
        >>> result = dvt.decompose(torch.rand(3, 80, 100), backbone, num_views=8)
        >>> result.clean.shape == result.grid.hw + (backbone.num_channels,)
        True
        >>> torch.allclose(result.raw, result.clean + result.artifact + result.residual, atol=1e-5)
        True
        >>> result = dvt.decompose(torch.rand(3, 80, 100), backbone, num_views=8, fine=2)
        >>> result.grid.hw, tuple(result.clean.shape), tuple(result.fine.shape)
        ((4, 4), (4, 4, 192), (8, 8, 192))
    """
    check_model("backbone", backbone)
    config = load_quality(quality, overrides)
    warn_if_finer_than_nodes(config, f"fine={config.fine}")
    return decompose_image(read_image(image, max_pixels=max_pixels), backbone, config, seed)


@takes_numbers
@own_torch_state()
def decompose_image(
    image: ImageTensor,
    backbone: FeatureExtractor,
    config: DecomposeConfig,
    seed: int,
    reporter: Reporter = SILENT,
) -> Decomposition:
    """`decompose` for an image in memory, with all options given.

    The reporter counts the views, then the solutions of the closed form or the steps of the gradient solver, of each
    layer. An exception that it raises ends the work.

    Memory: 4 (V + 1) H W C bytes for the features of all views in float32, on the backbone's device, plus the memory
    of the solver. Nothing is kept between images.
    """
    height, width = image.shape[-2:]
    if min(height, width) < backbone.grid.patch:
        raise ImageError(
            f"the image is {height} x {width} px, smaller than one patch of {backbone.grid.patch} px:"
            " there is nothing to decompose. Give a larger image."
        )
    fine_grid = backbone.grid.finer(config.fine)
    check_fine_size(fine_grid)
    start_s = perf_counter()
    tokens, held_out = extract_tokens(image, backbone, config, seed, reporter)
    _synchronise(backbone.device)
    extracted_s = perf_counter()
    solution = solve(tokens, config, seed, reporter)
    with torch.no_grad():
        clean = clean_map(solution, tokens)
        diagnostics = _diagnostics(tokens, held_out, clean, solution)
    maps = [each.float().cpu() for each in (tokens.raw[-1], clean, solution.artifact)]
    fine = maps[1] if config.fine == 1 else solution.field.read(fine_grid)
    _synchronise(backbone.device)
    diagnostics |= {"extract_s": extracted_s - start_s, "solve_s": perf_counter() - extracted_s}
    return Decomposition(
        raw=maps[0].clone(),
        clean=maps[1],
        artifact=maps[2],
        field=solution.field,
        grid=tokens.grid,
        fine=fine,
        fine_grid=fine_grid,
        diagnostics=diagnostics,
    )


def extract_tokens(
    image: ImageTensor,
    backbone: FeatureExtractor,
    config: DecomposeConfig,
    seed: int,
    reporter: Reporter = SILENT,
) -> tuple[ViewTokens, ViewTokens | None]:
    """Raw features and positions of the views and the full view, and of the random held-out views, if any.

    Raises:
        DecompositionError: the features are not finite.
    """
    views, grid = config.views, backbone.grid
    source = make_source(image.to(backbone.device), grid.image_hw, views)
    source_hw = (source.shape[-2], source.shape[-1])
    count, held = views.num_views, views.held_out_views
    crops = sample_crops(source_hw, grid, count, seed, views)
    kept = random_crops(source_hw, grid.image_hw, count + held, seed, views)[count:]
    crops = [*kept, *crops, Crop.whole(source_hw)]
    reporter.start(len(crops), "views", "stage 1, features of views")
    raw = extract(
        backbone, lambda part: render_views(source, crops[part], grid.image_hw), len(crops), config.batch_size, reporter
    )
    _check_finite(raw)
    image_xy = crop_xy(crops, grid, source_hw, views.coordinates).to(raw.device)
    num_layers = num_layers_of(backbone)
    fitted, apart = (
        ViewTokens(raw=raw[part], image_xy=image_xy[part], grid=grid, num_layers=num_layers)
        for part in (slice(held, None), slice(held))
    )
    return fitted, apart if held else None


def solve(tokens: ViewTokens, config: DecomposeConfig, seed: int, reporter: Reporter = SILENT) -> Solution:
    """F and G by the configured solver; of every layer for itself.

    Raises:
        DecompositionError: the solver runs out of memory, or the system has no solution.
    """
    try:
        solution = joined([_solve_layer(layer, config, seed, reporter) for layer in tokens.by_layer()])
    except torch.OutOfMemoryError as error:
        raise DecompositionError(
            f"the solver does not fit into the memory of {tokens.raw.device} beside the features of"
            f" {len(tokens.raw)} views: give fewer views.num_views, or a smaller image_size."
        ) from error
    return replace(solution, field=replace(solution.field, samples_per_patch=config.samples_per_patch))


def _solve_layer(tokens: ViewTokens, config: DecomposeConfig, seed: int, reporter: Reporter) -> Solution:
    if config.solver is Solver.closed_form:
        return solve_closed_form(tokens, config.closed_form, reporter)
    start = solve_closed_form(tokens, config.closed_form, reporter) if config.gradient.warm_start else None
    return solve_gradient(tokens, config.gradient, config.encoding, seed, start, reporter)


def clean_map(solution: Solution, tokens: ViewTokens) -> FeatureMap:
    """(H, W, C) F on the full view."""
    return solution.field.over_patches(tokens.image_xy[-1], tokens.grid)


def _check_finite(raw: Tensor) -> None:
    bad = int((~raw.flatten(1).sum(dim=1).isfinite()).sum())  # isfinite on all tokens would need a second token matrix
    if bad:
        raise DecompositionError(
            f"the backbone gave features that are NaN or infinite in {bad} of {len(raw)} views."
            " With backbone.precision=fp16 try bf16 or fp32; otherwise the weights are damaged."
        )


def _diagnostics(
    tokens: ViewTokens, held_out: ViewTokens | None, clean: Tensor, solution: Solution
) -> dict[str, float]:
    variance = tokens.variance
    left = (tokens.raw[-1] - clean - solution.artifact).square().mean()
    numbers = {
        "num_views": float(len(tokens.raw) - 1),
        "artifact_share": float(solution.artifact.square().mean() / variance),
        "full_view_error": float(left / variance),
    }
    if held_out is not None:
        numbers["held_out_error"] = held_out_error(solution, held_out)
    return numbers | solution.diagnostics


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
