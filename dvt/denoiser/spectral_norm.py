"""A linear layer whose spectral norm stays what it was at the start (ViTGAN, Lee et al., ICLR 2022, s. 3.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_ITERATIONS = 3
"""Power iterations a step. After one the norm of a layer that learns fast is up to 10 % too large."""


class SpectralLinear(nn.Linear):
    """y = W' x + b with W' = W sigma(W_init) / sigma(W), and sigma the largest singular value.

    Spectral normalisation divides by sigma(W) and makes the norm of every layer 1 (Miyato et al., ICLR 2018).
    Transformers learn slowly with that. ViTGAN multiplies by the norm of the first weights as well: the layer keeps the
    scale that its initialisation chose, and training cannot raise it.

    Attributes:
        initial: sigma(W_init), a scalar.
        direction: (in_features,) estimate of the right singular vector of sigma(W), of norm 1.

    Examples:
        >>> import torch
        >>> layer = SpectralLinear(8, 4)
        >>> layer.weight.data *= 100  # changes nothing
        >>> round(float(torch.linalg.matrix_norm(layer.normed_weight().detach(), 2) / layer.initial), 4)
        1.0
    """

    initial: Tensor
    direction: Tensor

    def __init__(self, num_inputs: int, num_outputs: int, *, bias: bool = True):
        """Draw the weights as `torch.nn.Linear` does, and measure them.

        Args:
            num_inputs: channels of the input.
            num_outputs: channels of the output.
            bias: whether b is there.
        """
        super().__init__(num_inputs, num_outputs, bias=bias)
        _, values, right = torch.linalg.svd(self.weight.detach(), full_matrices=False)
        self.register_buffer("initial", values[0].clone())
        self.register_buffer("direction", right[0].clone())

    def normed_weight(self) -> Tensor:
        """(out_features, in_features) W'. The gradient goes through sigma(W) as well."""
        norm = (self.weight * self.direction).sum(dim=1).norm() / self.direction.norm()  # no product in 16 bits
        normed: Tensor = self.weight * (self.initial / norm)
        return normed

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return functional.linear(input, self.normed_weight(), self.bias)

    @torch.no_grad()
    def follow(self) -> None:
        """A few power iterations: move `direction` to that of the present weights. Call it once a step."""
        for _ in range(_ITERATIONS):
            moved = self.weight.T @ (self.weight @ self.direction)
            self.direction.copy_(moved / moved.norm())
