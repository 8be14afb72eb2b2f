"""Self-attention by distances (Kim et al., ICML 2021), as in the discriminator of ViTGAN (Lee et al., ICLR 2022)."""

from math import sqrt

import torch
from torch import Tensor, nn

from dvt.denoiser.spectral_norm import SpectralLinear
from dvt.shapes import Float


def l2_weights(keys: Float[Tensor, "*dims N D"]) -> Float[Tensor, "*dims N N"]:
    """Attention weights softmax_j(-|k_i - k_j|^2 / sqrt(D)): a token attends most to those that are close to it.

    Query and key are the same vector. Dot products grow with the square of the input, so that the attention of dot
    products has no Lipschitz constant (Kim et al., theorem 3.1). A discriminator without one is hard to learn against.

    Args:
        keys: N tokens, D channels each.

    Returns:
        Each row sums to 1.

    Examples:
        >>> import torch
        >>> l2_weights(torch.tensor([[1.0], [1.0], [5.0]])).round(decimals=4)
        tensor([[0.5000, 0.5000, 0.0000],
                [0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
    """
    products = keys @ keys.mT
    squares = products.diagonal(dim1=-2, dim2=-1)
    # |k_i|^2 is the same for all j and drops out of the softmax
    return torch.softmax((2 * products - squares[..., None, :]) / sqrt(keys.shape[-1]), dim=-1)


class L2Attention(nn.Module):
    """Several heads of attention by distances, with tied queries and keys and normed linear layers.

    Examples:
        >>> import torch
        >>> L2Attention(num_channels=8, num_heads=2)(torch.zeros(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(self, num_channels: int, num_heads: int):
        """Draw the weights.

        Args:
            num_channels: a multiple of the heads.
            num_heads: heads.
        """
        super().__init__()
        self.num_heads = num_heads
        self.keys = SpectralLinear(num_channels, num_channels, bias=False)  # a distance has no use for it
        self.values = SpectralLinear(num_channels, num_channels)
        self.output = SpectralLinear(num_channels, num_channels)

    def forward(self, tokens: Float[Tensor, "S N C"]) -> Float[Tensor, "S N C"]:
        """Mix the tokens of each set."""
        keys, values = (self._heads(layer(tokens)) for layer in (self.keys, self.values))
        mixed = l2_weights(keys) @ values
        attended: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return attended

    def _heads(self, tokens: Tensor) -> Tensor:
        """(S, N, C) to (S, heads, N, C / heads)."""
        return tokens.reshape(*tokens.shape[:2], self.num_heads, -1).transpose(1, 2)
