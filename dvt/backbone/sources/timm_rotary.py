"""FixedRotary: the rotary position embedding of one patch grid."""

from typing import Any

from torch import Tensor, nn


class FixedRotary(nn.Module):
    """The rotary position embedding of one patch grid, computed once; replaces timm's.

    Its parameters keep their names, so that the names of the ViT's tensors do not change.
    """

    embedding: Tensor

    def __init__(self, rope: Any, grid_hw: tuple[int, int]):
        """Compute the embedding of a grid of `grid_hw` rows and columns with `rope`, a rotary embedding of timm."""
        super().__init__()
        for name, parameter in rope.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.register_buffer("embedding", rope.get_embed(shape=list(grid_hw)).detach(), persistent=False)

    def get_embed(self, shape: Any = None) -> Tensor:
        """The embedding; the shape that timm may pass is ignored."""
        return self.embedding
