"""F as a grid of nodes with bilinear interpolation (`dvt/field.py`): a linear model with a direct solution.

`LinearModel` is the matrix A of the closed form, (tokens x nodes) with four entries per row. A and its transpose are
applied as embedding bags, PyTorch's fast weighted gather on every device. A^T W A couples a node with its eight
neighbours alone, so it is block tridiagonal, with one block per row of nodes.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dvt.decomposition.block_tridiagonal import BlockTridiagonal
from dvt.field import NodeGrid, weighted_rows
from dvt.shapes import Float, ImageXY, Int64, Tokens


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Groups of tokens that share a vector: those of a patch position share G, those of a view share its offset."""

    tokens: Int64[Tensor, "K n"]
    """The tokens of each group."""
    index: Int64[Tensor, " N"]
    """The group of each token."""

    @classmethod
    def patches(cls, num_views: int, num_patches: int, device: torch.device) -> "Groups":
        """One group per patch position."""
        tokens = torch.arange(num_views * num_patches, device=device)
        return cls(tokens.reshape(num_views, num_patches).T.contiguous(), tokens % num_patches)

    @classmethod
    def crops(cls, num_views: int, num_patches: int, device: torch.device) -> "Groups":
        """One group per view except the last, the full view, whose tokens have the index V - 1."""
        tokens = torch.arange(num_views * num_patches, device=device)
        return cls(tokens.reshape(num_views, num_patches)[:-1], tokens // num_patches)

    def sum(self, features: Tokens, token_weight: Float[Tensor, " N"]) -> Float[Tensor, "K C"]:
        """S^T W y: the weighted sum of the tokens of each group."""
        return weighted_rows(features, self.tokens, token_weight[self.tokens])


class LinearModel:
    """A and its transpose for the tokens of one image.

    Args:
        nodes: the grid of F.
        image_xy: (N, 2) image positions of the tokens.
    """

    def __init__(self, nodes: NodeGrid, image_xy: ImageXY) -> None:
        self.nodes, self.num_nodes = nodes, nodes.num_nodes
        self.node, self.weight = nodes.corners(image_xy)
        by_node, self._order = self.node.flatten().sort(stable=True)
        self._token = self._order // 4
        self._starts = torch.searchsorted(by_node, torch.arange(nodes.num_nodes, device=by_node.device))

    def apply(self, values: Float[Tensor, "M C"], tokens: slice) -> Tokens:
        """A F: the field at a slice of the tokens."""
        return weighted_rows(values, self.node[tokens], self.weight[tokens])

    def transpose(self, features: Tokens, token_weight: Float[Tensor, " N"]) -> Float[Tensor, "M C"]:
        """A^T W y: the weighted sum of the tokens around each node."""
        return self._sum_at_nodes(self._token, features, token_weight)

    def groups_at_nodes(
        self, groups: Groups, values: Float[Tensor, "K C"], token_weight: Float[Tensor, " N"]
    ) -> Float[Tensor, "M C"]:
        """A^T W S G: `transpose` of the vectors of the tokens' groups; S maps groups to tokens."""
        return self._sum_at_nodes(groups.index[self._token], values, token_weight)

    def field_at_groups(
        self, groups: Groups, values: Float[Tensor, "M C"], token_weight: Float[Tensor, " N"]
    ) -> Float[Tensor, "K C"]:
        """S^T W A F: the weighted sum of the field over the tokens of each group."""
        return weighted_rows(values, *self._entries(groups.tokens, token_weight))

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

    def node_group_gram(
        self, groups: Groups, part: slice, token_weight: Float[Tensor, " N"], device: torch.device
    ) -> Float[Tensor, "M K"]:
        """A^T W S in float64 for some of the groups, on the device of the system."""
        node, weight = self._entries(groups.tokens[part], token_weight)
        column = torch.arange(len(node), device=node.device)[:, None]
        return _scatter(node * len(node) + column, weight, (self.num_nodes, len(node)), device)

    def _entries(self, tokens: Tensor, token_weight: Tensor) -> tuple[Tensor, Tensor]:
        """(K, 4 n) nodes of (K, n) tokens, and their weights."""
        weight = self.weight[tokens] * token_weight[tokens][:, :, None]
        return self.node[tokens].flatten(1), weight.flatten(1)

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
