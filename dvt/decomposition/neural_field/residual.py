"""h, the residual term: what depends on both content and position, predicted from the raw token (paper, s. 4.1)."""

from torch import Tensor, nn

from dvt.shapes import Tokens


class ResidualPredictor(nn.Module):
    """Three linear layers with ReLU between them, a quarter as wide as the features.

    Args:
        num_channels: C of the features.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        hidden = max(num_channels // 4, 1)
        self.mlp = nn.Sequential(
            nn.Linear(num_channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_channels),
        )

    def forward(self, raw: Tokens) -> Tensor:
        """(N, C) raw tokens to (N, C) residuals."""
        return self.mlp(raw)  # type: ignore[no-any-return]
