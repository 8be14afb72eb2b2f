"""Field: F, the clean features at any position of the image; BilinearField: F as a grid of nodes.

Below the store, as records hold fields too.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from dvt.errors import GeometryError
from dvt.grid import PatchGrid
from dvt.shapes import FeatureMap, Float, ImageXY, Int64
from dvt.torch_state import own_torch_state

_PLACES_AT_ONCE = 2**17
"""Positions per chunk of F evaluation: 400 MB at 768 channels."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Field(ABC):
    """F, the clean features as a function of the image position; it can be read at any resolution."""

    samples_per_patch: int = 1
    """A patch is the mean over this many positions along each side; 1: its centre."""

    @abstractmethod
    def at(self, image_xy: ImageXY) -> Tensor:
        """(..., C) F at (..., 2) positions, x then y in [0, 1], on the device of the field."""

    @own_torch_state()
    def read(self, where: PatchGrid | Tensor) -> Tensor:
        """Clean features at the patches of a grid or at single positions.

        Args:
            where: a grid over the whole image, such as `grid.finer(4)`, or (..., 2) positions, x then y in [0, 1].

        Returns:
            (H, W, C) for a grid, each feature the mean of F over its patch or cell; (..., C) for positions. float32 on
            the CPU.

        Raises:
            GeometryError: positions outside [0, 1], or not pairs.

        Examples:
            >>> import dvt, torch
            >>> image = torch.rand(3, 64, 64)
            >>> backbone = dvt.load_backbone("vit_micro", image_size=64, device="cpu")
            >>> result = dvt.decompose(image, backbone, quality="tiny")
            >>> torch.equal(result.field.read(result.grid), result.clean)
            True
            >>> result.grid.hw, tuple(result.field.read(result.grid.finer(4)).shape)
            ((4, 4), (16, 16, 192))
            >>> result.field.read(torch.tensor([0.5, 0.5])).shape == (backbone.num_channels,)
            True
        """
        if isinstance(where, PatchGrid):
            return self.over_patches(where.centres_xy, where).float().cpu()
        if where.shape[-1:] != (2,):
            raise GeometryError(f"positions of shape {tuple(where.shape)}: expected (..., 2), x then y.")
        if where.numel() and not (where.min() >= 0 and where.max() <= 1):  # false for NaN as well
            raise GeometryError(
                f"positions from {float(where.min()):g} to {float(where.max()):g}: expected [0, 1], x then y."
                " Divide pixels by the width and height of the image."
            )
        return self.at(where.float()).float().cpu()

    def over_patches(self, centres: ImageXY, grid: PatchGrid) -> FeatureMap:
        """(H, W, C) means of F over the patches of a grid.

        A token describes its whole patch, and crops resolve F finer than a patch.

        Args:
            centres: (H, W, 2) centres of the patches.
            grid: sizes of the patches and the image.
        """
        count = self.samples_per_patch
        offset = (torch.arange(count, device=centres.device) + 0.5) / count - 0.5
        x, y = offset * grid.side / grid.image_hw[1], offset * grid.side / grid.image_hw[0]
        offsets = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
        places = (centres[:, :, None, :] + offsets).clamp(0, 1)  # corner-aligned centres are on the edge
        rows = max(1, _PLACES_AT_ONCE // (places.shape[1] * places.shape[2]))
        return torch.cat([self.at(part).mean(dim=2) for part in torch.split(places, rows)])


@dataclass(frozen=True, slots=True)
class NodeGrid:
    """Nodes spaced evenly over the image from edge to edge."""

    hw: tuple[int, int]
    """Rows and columns of nodes, at least 2 each."""

    def __post_init__(self) -> None:
        if len(self.hw) != 2 or any(count < 2 for count in self.hw):
            raise GeometryError(f"nodes={self.hw}: give rows and columns of nodes, at least 2 each.")

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
        return weighted_rows(values, node, weight).reshape(*image_xy.shape[:-1], -1)


@dataclass(frozen=True, eq=False, kw_only=True)
class BilinearField(Field):
    """F of the closed form: interpolated node values."""

    nodes: NodeGrid
    """Positions of the nodes."""
    values: Float[Tensor, "M C"]
    """F at the nodes, in row-major order."""

    @property
    def node_map(self) -> Float[Tensor, "rows columns C"]:
        """F at the nodes, by row and column."""
        return self.values.reshape(*self.nodes.hw, -1)

    def at(self, image_xy: ImageXY) -> Tensor:
        """(..., C) F at (..., 2) positions, x then y in [0, 1]."""
        return self.nodes.interpolate(self.values, image_xy.to(self.values.device))

    def over_patches(self, centres: ImageXY, grid: PatchGrid) -> FeatureMap:
        """(H, W, C) means of F over the patches of a grid, as two matrix products.

        The positions in a patch are a product of rows and columns, and so are the bilinear weights of the nodes.
        """
        rows = self._weights(centres[:, 0, 1], grid.side / grid.image_hw[0], self.nodes.hw[0])
        columns = self._weights(centres[0, :, 0], grid.side / grid.image_hw[1], self.nodes.hw[1])
        return torch.einsum("hr,rcd,wc->hwd", rows, self.node_map, columns)

    def _weights(self, centres: Tensor, side: float, num_nodes: int) -> Tensor:
        """(N, num_nodes) mean weights of a line of nodes over patches of a side, as a share of the image's."""
        count, device = self.samples_per_patch, self.values.device
        offset = ((torch.arange(count, device=device) + 0.5) / count - 0.5) * side
        place = (centres.to(device)[:, None] + offset).clamp(0, 1) * (num_nodes - 1)  # corner-aligned: on the edge
        near = 1 - (place[:, :, None] - torch.arange(num_nodes, device=device)).abs()
        return near.clamp_min(0).mean(dim=1).to(self.values.dtype)


@dataclass(frozen=True, eq=False, kw_only=True)
class SideBySide(Field):
    """Several fields as one; their channels stand side by side."""

    parts: tuple[Field, ...]
    """The fields, in the order of the channels."""

    def at(self, image_xy: ImageXY) -> Tensor:
        """(..., C) F at (..., 2) positions, x then y in [0, 1]."""
        return torch.cat([part.at(image_xy) for part in self.parts], dim=-1)


def side_by_side(fields: Sequence[Field]) -> Field:
    """Several fields over one image as one with the channels of all; of fields on the same nodes, one on these."""
    first = fields[0]
    if isinstance(first, BilinearField) and all(
        isinstance(each, BilinearField) and each.nodes == first.nodes for each in fields
    ):
        values = [each.values for each in fields if isinstance(each, BilinearField)]
        return replace(first, values=torch.cat(values, dim=-1))
    return SideBySide(parts=tuple(fields), samples_per_patch=first.samples_per_patch)


def weighted_rows(values: Float[Tensor, "M C"], index: Int64[Tensor, "N K"], weight: Float[Tensor, "N K"]) -> Tensor:
    """(N, C) weighted sums of K rows each."""
    return functional.embedding_bag(index, values, per_sample_weights=weight.to(values.dtype), mode="sum")
