"""F as a grid of nodes with bilinear interpolation (`dvt/field.py`): a linear model with a direct solution.

`LinearModel` is the matrix A of the closed form, (tokens x nodes) with four entries per row. A and its transpose are
applied as embedding bags, PyTorch's fast weighted gather on every device. A^T W A couples a node with its eight
neighbours alone, so it is block tridiagonal, with one block per row of nodes.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dvt.decomposition.block_tridiagonal import BlockTridiagonal
from dvt.field import NodeGrid, weighted_rows
from dvt.shapes import ImageXY, Tokens


class LinearModel:
    """A and its transpose for the tokens of one image.

    Args:
        nodes: the grid of F.
        image_xy: (N, 2) image positions of the tokens.
        patch_index: (N,) patch positions of the tokens in the view.
        num_patches: number of patch positions.
    """

    def __init__(self, nodes: NodeGrid, image_xy: ImageXY, patch_index: Tensor, num_patches: int) -> None:
        self.nodes, self.num_nodes, self.num_patches = nodes, nodes.num_nodes, num_patches
        self.node, self.weight = nodes.corners(image_xy)
        self.patch_index = patch_index
        by_node, self._order = self.node.flatten().sort(stable=True)
        self._token = self._order // 4
        self._starts = torch.searchsorted(by_node, torch.arange(nodes.num_nodes, device=by_node.device))

    def apply(self, values: Float[Tensor, "M C"], tokens: slice) -> Tokens:
        """A F: the field at a slice of the tokens."""
        return weighted_rows(values, self.node[tokens], self.weight[tokens])

    def transpose(self, features: Tokens, token_weight: Float[Tensor, " N"]) -> Float[Tensor, "M C"]:
        """A^T W y: the weighted sum of the tokens around each node."""
        return self._sum_at_nodes(self._token, features, token_weight)

    def artifact_at_nodes(self, artifact: Float[Tensor, "P C"], token_weight: Float[Tensor, " N"]) -> Tensor:
        """(M, C) A^T W S G: `transpose` of the artifacts of the tokens; S maps patch positions to tokens."""
        return self._sum_at_nodes(self.patch_index[self._token], artifact, token_weight)

    def field_at_patches(self, values: Float[Tensor, "M K"], token_weight: Float[Tensor, " N"]) -> Tensor:
        """(P, K) S^T W A F: the weighted sum of the field over the tokens of each patch position."""
        return weighted_rows(values, self._by_patch(self.node), self._by_patch(self.weight * token_weight[:, None]))

    def node_system(self, token_weight: Float[Tensor, " N"], device: torch.device) -> BlockTridiagonal:
        """A^T W A in float64, on the device of the system."""
        rows, columns = self.nodes.hw
        row, column = self.node // columns, self.node % columns
        value = self.weight[:, :, None] * self.weight[:, None, :] * token_weight[:, None, None]
        pair = (row[:, :, None] * columns + column[:, :, None]) * columns + column[:, None, :]
        upper, lower = slice(0, 2), slice(2, 4)  # corners of a cell in its upper and lower row of nodes
        within = torch.stack((pair[:, upper, upper], pair[:, lower, lower]))
        values = torch.stack((value[:, upper, upper], value[:, lower, lower]))
        between = pair[:, lower, upper] - columns * columns  # block r is between rows r and r + 1
        return BlockTridiagonal(
            diagonal=_scatter(within, values, (rows, columns, columns), device),
            below=_scatter(between, value[:, lower, upper], (rows - 1, columns, columns), device),
        )

    def node_patch_gram(
        self, token_weight: Float[Tensor, " N"], patches: slice, device: torch.device
    ) -> Float[Tensor, "M K"]:
        """A^T W S in float64 for some patch positions, on the device of the system."""
        node, weight = self._by_patch(self.node)[patches], self._by_patch(self.weight * token_weight[:, None])[patches]
        column = torch.arange(len(node), device=node.device)[:, None]
        return _scatter(node * len(node) + column, weight, (self.num_nodes, len(node)), device)

    def _by_patch(self, entries: Tensor) -> Tensor:
        """(P, 4 V) from (N, 4): tokens are in the order of the views, patch by patch."""
        return entries.reshape(-1, self.num_patches, 4).transpose(0, 1).reshape(self.num_patches, -1)

    def _sum_at_nodes(self, source: Tensor, rows: Tensor, token_weight: Tensor) -> Tensor:
        entry = (self.weight * token_weight[:, None]).flatten()[self._order]
        return functional.embedding_bag(source, rows, self._starts, per_sample_weights=entry.to(rows.dtype), mode="sum")


def add_roughness_(system: BlockTridiagonal, pull: float) -> None:
    """Add, in place, the quadratic form of `pull` times the squared differences of neighbouring nodes."""
    along, across = system.diagonal.diagonal(dim1=1, dim2=2), system.below.diagonal(dim1=1, dim2=2)
    along[:, 1:] += pull
    along[:, :-1] += pull
    along[1:] += pull
    along[:-1] += pull
    across -= pull
    system.diagonal.diagonal(1, dim1=1, dim2=2).sub_(pull)
    system.diagonal.diagonal(-1, dim1=1, dim2=2).sub_(pull)


def _scatter(index: Tensor, value: Tensor, shape: tuple[int, ...], device: torch.device) -> Tensor:
    flat = torch.zeros(math.prod(shape), device=device, dtype=torch.float64)
    index, value = index.flatten().to(device), value.flatten().to(device).double()
    if device.type == "cpu":
        flat.index_add_(0, index, value)
    else:  # sorts, so it is deterministic; slower than index_add_ on the CPU
        flat.index_put_((index,), value, accumulate=True)
    return flat.reshape(shape)
