"""The fit of the paper as one would first write it: what `benchmarks/gradient.py` compares the gradient solver with.

One image, all in float32: hash grid (sixteen tables of eight features), Linear -> ReLU -> Linear, G, three layers for
h, 2048 tokens a step, Adam with decay over everything, 25,000 steps in two phases (paper, s. 4.1 and App. A.1). The
tables are read by `embedding`, which has a dense gradient that PyTorch is quick at; plain indexing is ten times slower
still.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvt.decomposition.config import HashGridConfig
from dvt.decomposition.neural_field.hash_grid import make_levels

STEPS, TOKENS = 25_000, 2048


class PlainField(nn.Module):
    """F, one level after the other."""

    def __init__(self, channels: int, config: HashGridConfig) -> None:
        super().__init__()
        self.levels = make_levels(config)
        width = config.n_features_per_level
        self.tables = nn.ModuleList(nn.Embedding(level.entries, width) for level in self.levels)
        for table in self.tables:
            nn.init.uniform_(table.weight, -1e-4, 1e-4)
        hidden = channels // 2
        self.mlp = nn.Sequential(nn.Linear(config.n_levels * width, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, xy: Tensor) -> Tensor:
        """(N, 2) places to (N, C) features."""
        features = []
        for level, table in zip(self.levels, self.tables, strict=True):
            position = xy * level.scale + 0.5
            low = position.floor()
            share, vertex = position - low, low.long()
            feature = torch.zeros(())
            for dx in (0, 1):
                for dy in (0, 1):
                    x, y = vertex[:, 0] + dx, vertex[:, 1] + dy
                    row = x + y * level.resolution if level.is_dense else x ^ (y * 2_654_435_761)
                    weight = (share[:, 0] if dx else 1 - share[:, 0]) * (share[:, 1] if dy else 1 - share[:, 1])
                    feature = feature + table(row % level.entries) * weight[:, None]
            features.append(feature)
        return self.mlp(torch.cat(features, dim=1))


class PlainLoop:
    """The fit of one image; `step` by `step`."""

    def __init__(self, raw: Tensor, image_xy: Tensor, num_patches: int, config: HashGridConfig) -> None:
        channels = raw.shape[1]
        self.raw, self.image_xy, self.num_patches = raw, image_xy, num_patches
        self.field = PlainField(channels, config)
        self.artifact = nn.Parameter(torch.randn(num_patches, channels) * 0.02)
        narrow = channels // 4
        self.residual = nn.Sequential(
            nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, narrow), nn.ReLU(), nn.Linear(narrow, channels)
        )
        parameters = [*self.field.parameters(), self.artifact, *self.residual.parameters()]
        self.adam = torch.optim.Adam(parameters, lr=0.01, betas=(0.9, 0.99), eps=1e-15, weight_decay=1e-5)
        self.done = 0

    def step(self) -> None:
        """One update."""
        pick = torch.randint(len(self.raw), (TOKENS,))
        raw = self.raw[pick]
        field, artifact = self.field(self.image_xy[pick]), self.artifact[pick % self.num_patches]
        if self.done <= STEPS // 2:
            loss = distance(field + artifact, raw)
        else:
            residual = self.residual(raw)
            rest = (raw - field - artifact).detach()
            loss = distance(field + artifact.detach() + residual.detach(), raw)
            loss = loss + 0.1 * functional.mse_loss(residual, rest) + 0.02 * residual.abs().mean()
        for group in self.adam.param_groups:
            group["lr"] = rate(self.done)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.done += 1


def distance(guess: Tensor, raw: Tensor) -> Tensor:
    return functional.mse_loss(guess, raw) + 1 - functional.cosine_similarity(guess, raw, dim=-1).mean()


def rate(step: int) -> float:
    warmup = STEPS // 10
    if step < warmup:
        return 0.01 * step / warmup
    return 0.001 + 0.0045 * (1 + math.cos(math.pi * (step - warmup) / (STEPS - warmup)))
