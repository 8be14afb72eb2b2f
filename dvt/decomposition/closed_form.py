"""The direct solver: F is a bilinear grid, so the equation is linear and Cholesky factorisation solves it.

    minimise  sum_n w_n |y_n - (A F)_n - G_p(n)|^2  +  smoothness |grad F|^2  +  ridge sum_p w_p |G_p|^2

The nodes of F are coupled with their neighbours alone: their block is sparse and is factorised first. One dense system
for G remains. Both are the same for all channels. The weights w are then computed from the errors, and the system is
solved again. Tokens that fit neither F nor G are downweighted; this plays the role of h in the paper. Errors are
relative to the median error at the same patch position, and the ridge on G_p is relative to the total weight w_p there.
Some ViTs have corner tokens that vary as much as all others together, and G must not lose them as outliers.

With `view_offset` every crop also has a constant, with a ridge: a part of its features that depends on the whole crop.
It is in the dense system, beside G. The full view has none, so the equation of the full view stays F + G + h. What the
crops around a place have in common is its context, and remains in F (`context_of_offsets`); their differences do not.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dvt.decomposition.bilinear import Groups, LinearModel, add_roughness_
from dvt.decomposition.config import ClosedFormConfig
from dvt.decomposition.solution import Solution, ViewTokens
from dvt.errors import DecompositionError
from dvt.field import BilinearField, NodeGrid
from dvt.grid import PatchGrid
from dvt.progress import SILENT, Reporter
from dvt.shapes import Float

_CHUNK = 4096
"""Tokens per chunk of error computation."""
_MOST_ENTRIES = 2**25
"""Size of the largest temporary matrix over the nodes: 256 MB."""
_MOST_BYTES = 8 * 2**30
"""Limit for the factor."""
_JITTER = 1e-6
"""Ridge on F, in units of the mean weight per node; matters only at nodes without tokens."""
_LEAST_USUAL = 0.1
"""Lower bound on the median error of a position, in units of the median over positions; limits its weight."""


class Fit(NamedTuple):
    """Nodes of F, (M, C), vectors of G, (P, C), and offsets of the views, (V, C); in float32."""

    nodes: Tensor
    artifact: Tensor
    offsets: Tensor


def solve_closed_form(tokens: ViewTokens, config: ClosedFormConfig, reporter: Reporter = SILENT) -> Solution:
    """Solve for F and G of one image.

    Args:
        tokens: raw features and positions of all views. The sums run on their device. So does the small system in
            float64, except on devices without float64, where it runs on the CPU.
        config: grid, regularisation, reweightings.
        reporter: counts the solutions, one more than reweightings.

    Memory in addition to the tokens: 16 M^1.5 bytes for the factor of M nodes of a square image, 24 P^2 bytes for G at
    P patch positions (with offsets of V views, P + V), and up to 1 GB.

    Raises:
        DecompositionError: the factor would need more than 8 GB, or the system has no solution.
    """
    num_channels, num_patches = tokens.raw.shape[-1], tokens.grid.num_patches
    nodes = NodeGrid(hw=node_counts(tokens.grid, config.nodes_per_patch))
    needed = 16 * nodes.hw[0] * nodes.hw[1] ** 2
    if needed > _MOST_BYTES:
        raise DecompositionError(
            f"closed_form.nodes_per_patch={config.nodes_per_patch:g} makes {nodes.hw[0]} x {nodes.hw[1]} nodes of the"
            f" {tokens.grid}; their system needs {needed / 2**30:.0f} GB, more than {_MOST_BYTES / 2**30:.0f}."
            " Give fewer nodes_per_patch, or solver=gradient."
        )
    raw, image_xy = tokens.raw.reshape(-1, num_channels), tokens.image_xy.reshape(-1, 2)
    model = LinearModel(nodes, image_xy)

    border = border_weights(tokens.grid, config.border_weight).to(raw.device)
    weight, turned_down = border.expand(len(tokens.raw), -1).flatten(), 0.0
    ridge = torch.full((num_patches,), float(config.artifact_ridge), device=raw.device)
    reporter.start(1 + config.reweightings, "solutions", "stage 1, closed form")
    fit = solve_weighted(model, raw, weight, ridge, config)
    reporter.advance()
    for _ in range(config.reweightings):
        errors = squared_errors(model, raw, fit).reshape(-1, num_patches)
        usual = errors.median(dim=0).values  # per patch position
        weight = (inlier_weights(errors, usual, config.outlier_scale) * border).flatten()
        turned_down = float((errors > config.outlier_scale * usual).float().mean())
        ridge = artifact_pull(usual, len(errors), fit.artifact * (1 + ridge)[:, None], config)
        fit = solve_weighted(model, raw, weight, ridge, config)
        reporter.advance()
    if config.view_offset:
        fit = fit._replace(nodes=fit.nodes + context_of_offsets(model, weight, fit.offsets, config.offset_radius))
    constant = fit.artifact.mean(dim=0)  # the fit cannot separate a constant: it goes to F
    return Solution(
        field=BilinearField(nodes=nodes, values=fit.nodes + constant),
        artifact=(fit.artifact - constant).reshape(*tokens.grid.hw, num_channels),
        diagnostics={"nodes": float(nodes.num_nodes), "turned_down": turned_down},
    )


def node_counts(grid: PatchGrid, nodes_per_patch: float) -> tuple[int, int]:
    """Rows and columns of nodes for a full view, at least 2 each; independent of the stride."""
    rows, columns = (max(2, round(size / grid.patch * nodes_per_patch)) for size in grid.image_hw)
    return rows, columns


def border_weights(grid: PatchGrid, border_weight: float) -> Float[Tensor, " P"]:
    """Weights of the patch positions: `border_weight` in the outermost rows and columns, one elsewhere."""
    weight = torch.ones(grid.hw)
    weight[[0, -1]] = border_weight
    weight[:, [0, -1]] = border_weight
    return weight.flatten()


def solve_weighted(
    model: LinearModel,
    raw: Float[Tensor, "N C"],
    weight: Float[Tensor, " N"],
    ridge: Float[Tensor, " P"],
    config: ClosedFormConfig,
) -> Fit:
    """F, G and the offsets of the views, for given token weights and ridges on G.

    The ridges divide a constant between F, G and the offsets. The offset of the full view is zero.

    With N = A^T W A + smoothness, S the map from patch positions and crops to their tokens, B = A^T W S and
    D = S^T W S + ridges, the equations for F and for g = (G, offsets) are

        N F + B g = A^T W y          B^T F + D g = S^T W y

    N is block tridiagonal. The system that is left for g after eliminating F is dense, but has one row per patch
    position and crop only: (D - B^T N^-1 B) g = S^T W y - B^T N^-1 A^T W y.
    """
    device = _solve_device(raw.device)
    num_patches, num_views = len(ridge), len(raw) // len(ridge)
    by_view = weight.reshape(num_views, num_patches).to(device).double()
    ridges = by_view.sum(dim=0) * ridge.to(device).double()
    system = torch.diag(by_view.sum(dim=0) + ridges)
    groups = [Groups.patches(num_views, num_patches, raw.device)]
    if config.view_offset and num_views > 1:
        groups.append(Groups.crops(num_views, num_patches, raw.device))
        crops = by_view[:-1]
        system = torch.cat(
            (
                torch.cat((system, crops.T), dim=1),
                torch.cat((crops, torch.diag(crops.sum(dim=1) / config.view_offset)), dim=1),
            )
        )
    group_sum = torch.cat([each.sum(raw, weight) for each in groups]).to(device).double()
    node_sum = model.transpose(raw, weight).to(device).double()

    def field_at_groups(values: Tensor) -> Tensor:
        return torch.cat([model.field_at_groups(each, values.float(), weight) for each in groups])

    per_node = by_view.sum() / model.num_nodes
    nodes = model.node_system(weight, device)
    add_roughness_(nodes, config.smoothness * float(per_node))
    nodes.diagonal.diagonal(dim1=1, dim2=2).add_(_JITTER * per_node)
    solvable = nodes.factor_()
    width, column = max(1, _MOST_ENTRIES // model.num_nodes), 0
    for each in groups:
        for start in range(0, len(each.tokens), width):
            part = slice(start, start + width)
            reach = nodes.solve_factored_(model.node_group_gram(each, part, weight, device))
            system[:, column : column + reach.shape[1]] -= field_at_groups(reach)
            column += reach.shape[1]
    factor, failed = torch.linalg.cholesky_ex((system + system.T) / 2)
    if failed.item() or not solvable:
        raise DecompositionError(
            f"the closed form cannot be solved in float64: features up to {float(raw.abs().max()):.3g}, token weights"
            f" from {float(weight.min()):.3g} to {float(weight.max()):.3g}. Features this large are damaged: check"
            " the weights and the precision of the backbone."
        )
    unexplained = group_sum - field_at_groups(nodes.solve_factored_(node_sum.clone()))
    vectors = torch.cholesky_solve(unexplained, factor).float().contiguous()  # it comes column by column
    artifact, offsets = vectors[:num_patches], vectors.new_zeros(num_views, raw.shape[1])
    offsets[: len(vectors) - num_patches] = vectors[num_patches:]
    for each, values in zip(groups, (artifact, offsets), strict=False):
        node_sum -= model.groups_at_nodes(each, values, weight)
    field = nodes.solve_factored_(node_sum)
    return Fit(*(part.float().to(raw.device) for part in (field, artifact, offsets)))


def context_of_offsets(
    model: LinearModel, weight: Float[Tensor, " N"], offsets: Float[Tensor, "V C"], radius: float
) -> Float[Tensor, "M C"]:
    """A smooth field near the offsets of the crops around each place: the part of them that remains in F.

    The minimum of sum_n w_n |c_v(n) - (A H)_n|^2 + smoothness |grad H|^2 over the nodes of H. Smoothing reaches as
    far as the root of the smoothness, in nodes.

    Args:
        model: A.
        weight: weight of each token.
        offsets: c, a vector per view, zero for the full view.
        radius: reach of the smoothing, as a share of the longer side of the image.
    """
    device = _solve_device(weight.device)
    per_token = offsets.repeat_interleave(len(weight) // len(offsets), dim=0)
    target = model.transpose(per_token, weight).to(device).double()
    nodes = model.node_system(weight, device)
    per_node = float(weight.double().sum()) / model.num_nodes
    add_roughness_(nodes, (radius * max(model.nodes.hw)) ** 2 * per_node)
    nodes.diagonal.diagonal(dim1=1, dim2=2).add_(_JITTER * per_node)
    if not nodes.factor_():
        raise DecompositionError(f"closed_form.offset_radius={radius:g} is too large for this image: give less.")
    return nodes.solve_factored_(target).float().to(offsets.device)


def squared_errors(model: LinearModel, raw: Float[Tensor, "N C"], fit: Fit) -> Float[Tensor, " N"]:
    """Mean squared error over the channels of every token; in chunks of views, to avoid a second token matrix."""
    num_patches = len(fit.artifact)
    errors = torch.empty(len(raw), device=raw.device)
    views = max(1, _CHUNK // num_patches)
    for first in range(0, len(fit.offsets), views):
        part = slice(first * num_patches, (first + views) * num_patches)
        shared = fit.artifact + fit.offsets[first : first + views, None]
        error = model.apply(fit.nodes, part).add_(shared.flatten(0, 1)).sub_(raw[part])
        errors[part] = error.square_().mean(dim=1)
    return errors


def inlier_weights(
    errors: Float[Tensor, "V P"], usual: Float[Tensor, " P"], outlier_scale: float
) -> Float[Tensor, "V P"]:
    """Weights with mean one: the inverse median error of the position, times a Cauchy weight.

    Args:
        errors: squared error of every token; one row per view, one column per patch position.
        usual: median error of each position.
        outlier_scale: error, in medians of its position, at which the Cauchy weight is one half.
    """
    unit = usual.median().clamp_min(torch.finfo(errors.dtype).tiny)
    scale = (usual / unit).clamp_min(_LEAST_USUAL)
    weight = 1 / (scale * (1 + errors / (outlier_scale * scale * unit)))
    return weight / weight.mean()


def artifact_pull(
    usual: Float[Tensor, " P"], num_views: int, artifact: Float[Tensor, "P C"], config: ClosedFormConfig
) -> Float[Tensor, " P"]:
    """Ridge on G at every position, from the uncertainty of G there.

    The mean of V independent errors would have variance 1 / V. Errors of crops of one image are correlated, in groups
    of `correlated_views`. Shrinkage by variance / (variance + squared size) is optimal on average (Stein's estimator).
    A corner with ten times the norm of all others keeps its G; a weak trace of the layout does not enter G.

    Args:
        usual: median squared error of each position.
        num_views: V.
        artifact: G without its own ridge, for the current F.
        config: `artifact_ridge`, the smallest ridge; `correlated_views`.
    """
    variance = usual * min(config.correlated_views / num_views, 1)
    size = artifact.square().mean(dim=1).clamp_min(torch.finfo(usual.dtype).tiny)
    return config.artifact_ridge + variance / size


def _solve_device(device: torch.device) -> torch.device:
    return torch.device("cpu") if device.type == "mps" else device  # no float64 there
