"""F as a grid of nodes with bilinear interpolation: a linear model with a direct solution.

`LinearModel` is the matrix A of the closed form, (tokens x nodes) with four entries per row. A and its transpose are
applied as embedding bags, PyTorch's fast weighted gather on every device.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from dvt.decomposition.solution import Field
from dvt.shapes import ImageXY, Tokens


@dataclass(frozen=True, slots=True)
class NodeGrid:
    """Nodes spaced evenly over the image from edge to edge."""

    hw: tuple[int, int]
    """Rows and columns of nodes, at least 2 each."""

    @property
    def num_nodes(self) -> int:
        """Rows times columns."""
        return self.hw[0] * self.hw[1]

    def corners(self, xy: Float[Tensor, "N 2"]) -> tuple[Int64[Tensor, "N 4"], Float[Tensor, "N 4"]]:
        """The four nodes around each position and their bilinear weights, which sum to one."""
        rows, columns = self.hw
        cells = torch.tensor([columns - 1, rows - 1], device=xy.device, dtype=xy.dtype)
        position = xy.clamp(0, 1) * cells
        low = torch.minimum(position.floor(), cells - 1)  # the far edge belongs to the last cell
        x, y = (position - low).unbind(-1)
        first = (low[:, 1] * columns + low[:, 0]).long()
        node = torch.stack((first, first + 1, first + columns, first + columns + 1), dim=-1)
        weight = torch.stack(((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y), dim=-1)
        return node, weight

    def interpolate(self, values: Float[Tensor, "M C"], image_xy: ImageXY) -> Tensor:
        """(..., C) values of the field at (..., 2) image positions."""
        node, weight = self.corners(image_xy.reshape(-1, 2))
        return _weighted_rows(values, node, weight).reshape(*image_xy.shape[:-1], -1)

    def add_roughness_(self, system: Float[Tensor, "M M"], pull: float) -> None:
        """Add, in place, the quadratic form of `pull` times the squared differences of neighbouring nodes."""
        index = torch.arange(self.num_nodes, device=system.device).reshape(self.hw)
        one = torch.cat((index[1:].flatten(), index[:, 1:].flatten()))
        other = torch.cat((index[:-1].flatten(), index[:, :-1].flatten()))
        flat, amount = system.view(-1), torch.full_like(one, 1, dtype=system.dtype).mul_(pull)
        for row, column, sign in ((one, one, 1), (other, other, 1), (one, other, -1), (other, one, -1)):
            flat.index_add_(0, row * self.num_nodes + column, amount, alpha=sign)


@dataclass(frozen=True, eq=False, kw_only=True)
class BilinearField(Field):
    """F of the closed form: interpolated node values."""

    nodes: NodeGrid
    """Positions of the nodes."""
    values: Float[Tensor, "M C"]
    """F at the nodes, in row-major order."""

    def at(self, image_xy: ImageXY) -> Tensor:
        """(..., C) F at (..., 2) positions, x then y in [0, 1]."""
        return self.nodes.interpolate(self.values, image_xy.to(self.values.device))


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
        return _weighted_rows(values, self.node[tokens], self.weight[tokens])

    def transpose(self, features: Tokens, token_weight: Float[Tensor, " N"]) -> Float[Tensor, "M C"]:
        """A^T W y: the weighted sum of the tokens around each node."""
        entry = (self.weight * token_weight[:, None]).flatten()[self._order]
        return functional.embedding_bag(
            self._token, features, self._starts, per_sample_weights=entry.to(features.dtype), mode="sum"
        )

    def node_gram(self, token_weight: Float[Tensor, " N"], device: torch.device) -> Float[Tensor, "M M"]:
        """A^T W A in float64, on the device of the system."""
        pair = self.node[:, :, None] * self.num_nodes + self.node[:, None, :]
        value = self.weight[:, :, None] * self.weight[:, None, :] * token_weight[:, None, None]
        return _scatter(pair, value, (self.num_nodes, self.num_nodes), device)

    def node_patch_gram(self, token_weight: Float[Tensor, " N"], device: torch.device) -> Float[Tensor, "M P"]:
        """A^T W S in float64, on the device of the system; S maps tokens to patch positions."""
        pair = self.node * self.num_patches + self.patch_index[:, None]
        return _scatter(pair, self.weight * token_weight[:, None], (self.num_nodes, self.num_patches), device)


def _weighted_rows(values: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    return functional.embedding_bag(index, values, per_sample_weights=weight.to(values.dtype), mode="sum")


def _scatter(index: Tensor, value: Tensor, shape: tuple[int, int], device: torch.device) -> Tensor:
    flat = torch.zeros(shape[0] * shape[1], device=device, dtype=torch.float64)
    index, value = index.flatten().to(device), value.flatten().to(device).double()
    if device.type == "cpu":
        flat.index_add_(0, index, value)
    else:  # sorts, so it is deterministic; slower than index_add_ on the CPU
        flat.index_put_((index,), value, accumulate=True)
    return flat.reshape(shape)
