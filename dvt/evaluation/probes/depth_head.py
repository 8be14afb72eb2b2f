"""The linear depth head: a mean over depth bins."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvt.backbone.features import Features
from dvt.evaluation.config.depth_head import HeadConfig
from dvt.evaluation.patches import upsample
from dvt.grid import PatchGrid
from dvt.shapes import FeatureMaps

_LEAST_WEIGHT = 0.1
"""Added to the weight of every bin, so that their sum is never 0."""
_FIRST_WEIGHTS = 0.01
"""Standard deviation of the weights at the start."""


class DepthHead(nn.Module):
    """Tokens -> upsampled logits for bins -> weights relu(logit) + 0.1 -> mean depth under them.

    The paper upsamples the features and then applies a 1 x 1 convolution. A linear map and bilinear interpolation
    change places without changing the result, so here the logits are upsampled: 1 / upsampling^2 of the work.
    """

    bins: Tensor
    scale: Tensor

    def __init__(self, num_channels: int, config: HeadConfig, rng: torch.Generator):
        """A head at the start of its training.

        Args:
            num_channels: of a token, class token included.
            config: bins, range, upsampling.
            rng: draws the weights.
        """
        super().__init__()
        self._config = config
        self.logits = nn.Linear(num_channels, config.num_bins)
        with torch.no_grad():
            self.logits.weight.normal_(0, _FIRST_WEIGHTS, generator=rng)
            self.logits.bias.zero_()
        self.register_buffer("bins", torch.linspace(config.min_depth, config.max_depth, config.num_bins))
        self.register_buffer("scale", torch.ones(()))

    def measure_in(self, unit: Tensor) -> None:
        """Divide every token by a number before anything else."""
        self.scale = 1 / unit.clamp(min=torch.finfo(unit.dtype).tiny)

    def forward(self, tokens: FeatureMaps, grid: PatchGrid) -> Tensor:
        """(B, y, x) depth in metres over the whole picture, `upsampling` times as fine as the patches.

        Args:
            tokens: (B, H, W, C), see `with_class_token`.
            grid: their patches.
        """
        config = self._config
        rows, columns = grid.hw
        logits = upsample(
            self.logits(tokens * self.scale), grid, (rows * config.upsampling, columns * config.upsampling)
        )
        # The numerator and the denominator of the mean, as one linear map.
        sums = torch.stack([self.bins, torch.ones_like(self.bins)])
        weighted, total = functional.linear(logits.relu(), sums, _LEAST_WEIGHT * sums.sum(dim=1)).unbind(-1)
        return (weighted / total).clamp(config.min_depth, config.max_depth)


def with_class_token(features: Features) -> FeatureMaps:
    """(B, H, W, 2C): the class token behind every patch token; (B, H, W, C) where the ViT has none."""
    patches = features.patches
    if features.prefix.shape[1] == 0:
        return patches
    class_token = features.prefix[:, :1, None]
    return torch.cat([patches, class_token.expand_as(patches)], dim=-1)
