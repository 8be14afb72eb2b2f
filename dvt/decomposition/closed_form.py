"""The direct solver: with F a bilinear grid the equation is linear, and one Cholesky factor solves it.

    minimise  sum_n w_n |y_n - (A F)_n - G_p(n)|^2  +  smoothness |grad F|^2  +  ridge sum_p w_p |G_p|^2

G is eliminated (its block is diagonal), what is left is one symmetric system in the nodes of F, the same for all
channels. The weights w are then set from the errors and the system is solved again: tokens that fit neither F nor G
are turned down, which is the part that h plays in the paper. Errors are measured against the usual error at the same
patch position, and the pull on G_p against the weight w_p of all tokens there: some ViTs have corner tokens that vary
as much as all others together, and G must not lose them as outliers.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dvt.decomposition.bilinear import BilinearField, LinearModel, NodeGrid
from dvt.decomposition.config import ClosedFormConfig
from dvt.decomposition.solution import Solution, ViewTokens
from dvt.errors import DecompositionError
from dvt.grid import PatchGrid

_CHUNK = 4096
"""Tokens whose errors are held at a time."""
_MOST_NODES = 20_000
"""Nodes up to which a dense system is sensible: 6.4 GB with its factor."""
_JITTER = 1e-6
"""Pull of F towards zero, in units of the mean weight on a node: only where no token looks does it matter."""
_LEAST_USUAL = 0.1
"""Usual error of a position, in medians over the positions, below which none counts for more."""


class Fit(NamedTuple):
    """Nodes of F, (M, C), and vectors of G, (P, C), in float32."""

    nodes: Tensor
    artifact: Tensor


def solve_closed_form(tokens: ViewTokens, config: ClosedFormConfig) -> Solution:
    """Solve for F and G of one image.

    Args:
        tokens: raw features and places of all views; the sums run on their device, the small system in float64 there
            too (on the CPU where the device has no float64).
        config: grid, pulls, reweightings.

    Memory: 16 M^2 bytes for the system and its factor, M nodes, beside the tokens: 0.5 GB for 37 x 37 patches.

    Raises:
        DecompositionError: more than 20,000 nodes, or a system that has no solution.
    """
    num_channels, num_patches = tokens.raw.shape[-1], tokens.grid.num_patches
    nodes = NodeGrid(hw=node_counts(tokens.grid, config.nodes_per_patch))
    if nodes.num_nodes > _MOST_NODES:
        raise DecompositionError(
            f"closed_form.nodes_per_patch={config.nodes_per_patch:g} makes {nodes.hw[0]} x {nodes.hw[1]} nodes of the"
            f" {tokens.grid}; the direct solver takes {_MOST_NODES} at most. Give fewer nodes_per_patch, or"
            " solver=gradient."
        )
    raw, image_xy = tokens.raw.reshape(-1, num_channels), tokens.image_xy.reshape(-1, 2)
    patch_index = torch.arange(len(raw), device=raw.device) % num_patches
    model = LinearModel(nodes, image_xy, patch_index, num_patches)

    weight, turned_down = torch.ones(len(raw), device=raw.device), 0.0
    ridge = torch.full((num_patches,), float(config.artifact_ridge), device=raw.device)
    fit = solve_weighted(model, raw, weight, ridge, config)
    for _ in range(config.reweightings):
        errors = squared_errors(model, raw, fit).reshape(-1, num_patches)
        usual = errors.median(dim=0).values  # at every position
        weight = inlier_weights(errors, usual, config.outlier_scale).flatten()
        turned_down = float((errors > config.outlier_scale * usual).float().mean())
        ridge = artifact_pull(usual, len(errors), fit.artifact * (1 + ridge)[:, None], config)
        fit = solve_weighted(model, raw, weight, ridge, config)
    constant = fit.artifact.mean(dim=0)  # the fit alone cannot tell where a constant belongs: it is F's
    return Solution(
        field=BilinearField(nodes=nodes, values=fit.nodes + constant),
        artifact=(fit.artifact - constant).reshape(*tokens.grid.hw, num_channels),
        diagnostics={"nodes": float(nodes.num_nodes), "turned_down": turned_down},
    )


def node_counts(grid: PatchGrid, nodes_per_patch: float) -> tuple[int, int]:
    """Rows and columns of nodes for a full view, at least 2 each; a denser stride needs no more of them."""
    rows, columns = (max(2, round(size / grid.patch * nodes_per_patch)) for size in grid.image_hw)
    return rows, columns


def solve_weighted(
    model: LinearModel,
    raw: Float[Tensor, "N C"],
    weight: Float[Tensor, " N"],
    ridge: Float[Tensor, " P"],
    config: ClosedFormConfig,
) -> Fit:
    """F and G for given weights of the tokens and pulls on G; a constant is divided between them by the pulls."""
    device = _solve_device(raw.device)
    per_patch = weight.reshape(-1, model.num_patches).sum(dim=0).to(device).double()
    patch_sum = _patch_sums(raw, weight, model.num_patches).to(device).double()
    node_sum = model.transpose(raw, weight).to(device).double()
    coupling = model.node_patch_gram(weight, device)
    system = model.node_gram(weight, device)

    diagonal = (per_patch * (1 + ridge.to(device).double()))[:, None]
    per_node = per_patch.sum() / model.num_nodes
    model.nodes.add_roughness_(system, config.smoothness * float(per_node))
    system.addmm_(coupling / diagonal.T, coupling.T, alpha=-1)
    system.diagonal().add_(_JITTER * per_node)
    factor, failed = torch.linalg.cholesky_ex(system)
    if failed.item():
        raise DecompositionError(
            f"the closed form cannot be solved in float64: features up to {float(raw.abs().max()):.3g}, token weights"
            f" from {float(weight.min()):.3g} to {float(weight.max()):.3g}. Features this large are damaged: look at"
            " the weights and the precision of the backbone."
        )
    field = torch.cholesky_solve(node_sum - coupling @ (patch_sum / diagonal), factor)
    artifact = (patch_sum - coupling.T @ field) / diagonal
    return Fit(nodes=field.float().to(raw.device), artifact=artifact.float().to(raw.device))


def squared_errors(model: LinearModel, raw: Float[Tensor, "N C"], fit: Fit) -> Float[Tensor, " N"]:
    """Mean squared error over the channels of every token, in chunks so that no second token matrix is made."""
    errors = torch.empty(len(raw), device=raw.device)
    for start in range(0, len(raw), _CHUNK):
        part = slice(start, start + _CHUNK)
        error = model.apply(fit.nodes, part).add_(fit.artifact[model.patch_index[part]]).sub_(raw[part])
        errors[part] = error.square_().mean(dim=1)
    return errors


def inlier_weights(
    errors: Float[Tensor, "V P"], usual: Float[Tensor, " P"], outlier_scale: float
) -> Float[Tensor, "V P"]:
    """Weights of mean one: the inverse of the usual error at a position, times a Cauchy weight.

    Args:
        errors: squared error of every token, a row a view, a column a patch position.
        usual: the median error of every position.
        outlier_scale: error, in medians of its position, at which the Cauchy weight has fallen to one half.
    """
    unit = usual.median().clamp_min(torch.finfo(errors.dtype).tiny)
    scale = (usual / unit).clamp_min(_LEAST_USUAL)
    weight = 1 / (scale * (1 + errors / (outlier_scale * scale * unit)))
    return weight / weight.mean()


def artifact_pull(
    usual: Float[Tensor, " P"], num_views: int, artifact: Float[Tensor, "P C"], config: ClosedFormConfig
) -> Float[Tensor, " P"]:
    """The pull on G at every position, from how far G stands out of its own uncertainty there.

    The mean of V errors that were independent would have 1/V of their variance. Those of crops of one image are not:
    `correlated_views` of them err alike. Shrinking by variance / (variance + size squared) is what is best on average
    (Stein's estimator): a corner whose norm is ten times all others keeps its G, a hint of layout does not become one.

    Args:
        usual: the median squared error of every position.
        num_views: V.
        artifact: G as it would be without its own pull, F as it is.
        config: `artifact_ridge`, the least pull; `correlated_views`.
    """
    variance = usual * min(config.correlated_views / num_views, 1)
    size = artifact.square().mean(dim=1).clamp_min(torch.finfo(usual.dtype).tiny)
    return config.artifact_ridge + variance / size


def _patch_sums(raw: Tensor, weight: Tensor, num_patches: int) -> Tensor:
    """(P, C) weighted sums over the views of the tokens at each patch position."""
    views = raw.reshape(-1, num_patches, raw.shape[-1])
    return torch.einsum("vp,vpc->pc", weight.reshape(-1, num_patches), views)


def _solve_device(device: torch.device) -> torch.device:
    return torch.device("cpu") if device.type == "mps" else device  # no float64 there
